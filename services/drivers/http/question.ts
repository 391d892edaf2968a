import { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import { fail } from "../../runtime/errors/fail.ts";
import type { BrokenBy, Exchange } from "../http1/connection.ts";
import { bareRequest, requestWithBody } from "../http1/request.ts";
import type { ResponseHead } from "../http1/response-head.ts";
import { HeldBytes } from "../held-bytes.ts";
import { questionTimeoutMs } from "../reach.ts";
import type { Connection } from "./connection.ts";

/** Longer answers are cut off: a hosted API lists some hundred models, vLLM's metrics are below 1 MiB. */
const answerBytesMax = 8 * 1024 * 1024;

/** What a server answered to a question. */
export interface Reply {
  /** 0: there was none. */
  readonly status: number;
  readonly text: string;
  /** A field of its head, by its name in lower case. */
  field(name: string): string | undefined;
}

/**
 * Asks by GET, and waits for the whole answer, for a limited time. Rejects with ENGINE_UNAVAILABLE or ENGINE_PROTOCOL if
 * there is none.
 */
export function ask(connection: Connection, path: string, signal: AbortSignal): Promise<Reply> {
  return exchanged(connection, bareRequest(connection.get(path)), signal);
}

/** The same by POST, with a body of JSON, on a path of the server's own. */
export function askBy(connection: Connection, path: string, body: unknown, signal: AbortSignal): Promise<Reply> {
  const request = requestWithBody(connection.postRoot(path), "probe", JSON.stringify(body));
  return exchanged(connection, request, signal);
}

/** Asks something that a server need not answer: a proxy may let only some paths through. */
export async function askFreely(connection: Connection, path: string, signal: AbortSignal): Promise<Reply> {
  try {
    return await ask(connection, path, signal);
  } catch {
    // No answer is an answer here.
    return { status: 0, text: "", field: () => undefined };
  }
}

async function exchanged(connection: Connection, request: string, signal: AbortSignal): Promise<Reply> {
  const limited = AbortSignal.any([signal, AbortSignal.timeout(questionTimeoutMs)]);
  const question = new Question(answerBytesMax);
  const carrier = connection.http.send(request, question);
  const giveUp = () => question.onBroken("lost", limited.reason);
  if (limited.aborted) giveUp();
  limited.addEventListener("abort", giveUp, { once: true });
  try {
    return await question.reply;
  } finally {
    limited.removeEventListener("abort", giveUp);
    carrier?.abort(question);
  }
}

/** A question to a server: its whole answer, as text. */
class Question implements Exchange {
  /** Rejects with ENGINE_UNAVAILABLE or ENGINE_PROTOCOL. */
  readonly reply: Promise<Reply>;
  readonly #settle: (reply: Reply) => void;
  readonly #reject: (error: Error) => void;
  readonly #bytesMax: number;
  readonly #held = new HeldBytes();
  #head: ResponseHead | undefined;

  /** What is longer than `bytesMax` is no answer. */
  constructor(bytesMax: number) {
    const { promise, resolve, reject } = Promise.withResolvers<Reply>();
    this.reply = promise;
    this.#settle = resolve;
    this.#reject = reject;
    this.#bytesMax = bytesMax;
  }

  onHead(head: ResponseHead): void {
    this.#head = head;
  }

  onData(bytes: Buffer, start: number, end: number): void {
    if (this.#held.length + end - start > this.#bytesMax)
      this.onBroken("lost", new Error(`longer than ${this.#bytesMax} bytes`));
    else this.#held.add(bytes, start, end, this.#head?.length);
  }

  onEnd(): void {
    const head = this.#head;
    const text = this.#held.take().toString("utf8");
    this.#settle({ status: head?.status ?? 0, text, field: (name) => head?.field(name) });
  }

  onBroken(by: BrokenBy, cause: unknown): void {
    this.#reject(
      by === "not HTTP"
        ? fail(ErrorReason.ENGINE_PROTOCOL, { problem: "it does not speak HTTP" }, { cause })
        : fail(ErrorReason.ENGINE_UNAVAILABLE, {}, { cause }),
    );
  }
}
