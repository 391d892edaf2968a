import { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import { weirErrorFrom } from "../../runtime/errors/fail.ts";
import type { Target } from "../driver.ts";
import { engineError, type Failure, lost, protocol, tooLarge, unavailable } from "../failure.ts";
import type { BrokenBy, Connection, Exchange } from "../http1/connection.ts";
import type { Http1Client } from "../http1/client.ts";
import type { ResponseHead } from "../http1/response-head.ts";
import { HeldBytes } from "../held-bytes.ts";
import { parsed } from "./json.ts";

/** What of an error's body is read. */
const errorBytesMax = 64 * 1024;

/** What is sent, and how what comes back is understood. */
export interface PostOptions {
  readonly http: Http1Client;
  readonly target: Target;
  /** The whole request, as the server shall read it. */
  readonly request: string;
  /** The model as the caller names it. */
  readonly model: string;
  /** What an answer other than 200 means. */
  readonly refused: (head: ResponseHead, body: string) => Failure;
  /** What an error inside a 200 means; undefined: there is none. */
  readonly errorIn: (json: unknown) => Failure | undefined;
}

/**
 * Sends a request that has one JSON answer. Rejects with the engine's failure, with ENGINE_TIMEOUT after the longest time
 * that a generation may take, or with the signal's reason; then the connection is closed, which is how servers hear of
 * it.
 */
export function postJson(options: PostOptions, signal: AbortSignal): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const { target, http, request } = options;
    if (signal.aborted) return reject(weirErrorFrom(signal.reason));
    // It may break before it is known.
    const sent: { on?: Connection | undefined } = {};
    let over = false;
    const end = (settle: () => void, stop: boolean) => {
      if (over) return;
      over = true;
      timer.cancel();
      signal.removeEventListener("abort", onAbort);
      if (stop) sent.on?.abort(exchange);
      settle();
    };
    const failed = (failure: Failure, stop = true, cause?: unknown) => {
      const error = engineError(failure, options.model, target.engineKey, cause);
      end(() => reject(error), stop);
    };
    const exchange = new JsonExchange(options, (answer) => end(() => resolve(answer), false), failed);
    const onAbort = () => end(() => reject(weirErrorFrom(signal.reason)), true);
    const timer = target.clock.setTimer(target.totalMs, () =>
      failed({
        reason: ErrorReason.ENGINE_TIMEOUT,
        metadata: { phase: "end", waited_ms: String(Math.round(target.totalMs)) },
      }),
    );
    signal.addEventListener("abort", onAbort, { once: true });
    sent.on = http.send(request, exchange);
  });
}

type Failed = (failure: Failure, stop?: boolean, cause?: unknown) => void;

class JsonExchange implements Exchange {
  readonly #options: PostOptions;
  readonly #answered: (json: unknown) => void;
  readonly #failed: Failed;
  readonly #held = new HeldBytes();
  #head: ResponseHead | undefined;

  constructor(options: PostOptions, answered: (json: unknown) => void, failed: Failed) {
    this.#options = options;
    this.#answered = answered;
    this.#failed = failed;
  }

  onHead(head: ResponseHead): void {
    this.#head = head;
    if (head.status === 200 && head.contentEncoding !== "" && head.contentEncoding !== "identity")
      this.#failed(protocol("a compressed answer"));
  }

  onData(bytes: Buffer, start: number, end: number): void {
    const isError = this.#head?.status !== 200;
    const { receiveBytesMax } = this.#options.target;
    if (!isError && this.#held.length + end - start > receiveBytesMax) return this.#failed(tooLarge(receiveBytesMax));
    this.#held.add(bytes, start, end, this.#head?.length);
    if (isError && this.#held.length > errorBytesMax) this.#reading(true, () => this.#refused(true));
  }

  onEnd(): void {
    this.#reading(false, () => {
      if (this.#head?.status === 200) this.#read();
      else this.#refused(false);
    });
  }

  onBroken(by: BrokenBy, cause: unknown): void {
    this.#failed(failures[by], false, cause);
  }

  /** The socket calls, where a throw would end the process. */
  #reading(stop: boolean, read: () => void): void {
    try {
      read();
    } catch (thrown) {
      this.#failed(protocol("an answer that cannot be read"), stop, thrown);
    }
  }

  #read(): void {
    const json = parsed(this.#text());
    if (json === undefined) return this.#failed(protocol("an answer that is not JSON"), false);
    const failure = this.#options.errorIn(json);
    if (failure) this.#failed(failure, false);
    else this.#answered(json);
  }

  #text(): string {
    return this.#held.take().toString("utf8");
  }

  #refused(stop: boolean): void {
    const head = this.#head;
    if (head === undefined) return this.#failed(protocol("an answer without a head"), stop);
    this.#failed(this.#options.refused(head, this.#text().slice(0, errorBytesMax)), stop);
  }
}

const failures: Readonly<Record<BrokenBy, Failure>> = {
  unreachable: unavailable,
  lost,
  "not HTTP": protocol("it does not speak HTTP"),
};
