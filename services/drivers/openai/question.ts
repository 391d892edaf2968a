import { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import { fail } from "../../runtime/errors/fail.ts";
import type { BrokenBy, Exchange } from "../http1/connection.ts";
import type { ResponseHead } from "../http1/response-head.ts";

/** What a server answered to a question. */
export interface Reply {
  /** 0: there was none. */
  readonly status: number;
  readonly text: string;
}

/** A question to a server: its whole answer, as text. */
export class Question implements Exchange {
  /** Rejects with ENGINE_UNAVAILABLE or ENGINE_PROTOCOL. */
  readonly reply: Promise<Reply>;
  readonly #settle: (reply: Reply) => void;
  readonly #reject: (error: Error) => void;
  readonly #bytesMax: number;
  readonly #chunks: Buffer[] = [];
  #bytes = 0;
  #status = 0;

  /** What is longer than `bytesMax` is no answer. */
  constructor(bytesMax: number) {
    const { promise, resolve, reject } = Promise.withResolvers<Reply>();
    this.reply = promise;
    this.#settle = resolve;
    this.#reject = reject;
    this.#bytesMax = bytesMax;
  }

  onHead({ status }: ResponseHead): void {
    this.#status = status;
  }

  onData(bytes: Buffer, start: number, end: number): void {
    this.#bytes += end - start;
    if (this.#bytes > this.#bytesMax) this.onBroken("lost", new Error(`longer than ${this.#bytesMax} bytes`));
    else this.#chunks.push(Buffer.from(bytes.subarray(start, end)));
  }

  onEnd(): void {
    this.#settle({ status: this.#status, text: Buffer.concat(this.#chunks).toString("utf8") });
  }

  onBroken(by: BrokenBy, cause: unknown): void {
    this.#reject(
      by === "not HTTP"
        ? fail(ErrorReason.ENGINE_PROTOCOL, { problem: "it does not speak HTTP" }, { cause })
        : fail(ErrorReason.ENGINE_UNAVAILABLE, {}, { cause }),
    );
  }
}
