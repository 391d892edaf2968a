import { ErrorReason, Retry } from "../../gen/ts/weir/error/v1/error_pb.ts";
import type { Clock } from "../runtime/clock.ts";
import { fail, type WeirError, weirErrorFrom } from "../runtime/errors/fail.ts";
import { openaiErrorBody } from "../runtime/errors/http-body.ts";
import { errorRow } from "../runtime/errors/table.ts";
import type { HttpRequest, HttpResponse } from "../runtime/server/app.ts";
import type { Endpoint, Outcome } from "../runtime/telemetry/metrics.ts";
import type { Edge } from "./edge.ts";
import { drainThen } from "./linger.ts";
import { type Refusal, refusalBody } from "./refusal.ts";
import { addLimitHeaders, type RateLimits, refusingLimitHeaders } from "./limit-headers.ts";
import { clientRequestId } from "./request-headers.ts";
import { type Body, bytesIn, type Patience } from "./slow-reader.ts";

export type Headers = Record<string, string | number>;

/** A response of either protocol: their declarations do not unite. */
export interface HttpWriter {
  readonly headersSent: boolean;
  readonly writableEnded: boolean;
  readonly writableLength: number;
  writeHead(status: number, headers: Headers): unknown;
  /**
   * False when the reader is behind. The text is never empty, here and at the end: Node's HTTP/2 then sends memory of
   * the process in place of what waits before it.
   */
  write(text: string | Buffer): boolean;
  end(): unknown;
  end(text: string | Buffer): unknown;
  destroy(): unknown;
  /** HTTP/1 only: Node cuts what is written into chunks. Known when the head is written. */
  chunkedEncoding?: boolean;
  /** HTTP/2 only. */
  readonly stream?: { close(code: number): unknown; readonly session?: { destroy(): unknown } | undefined };
  /** Null on HTTP/1 before its turn on the connection has come, and after it. */
  readonly socket: object | null;
  readonly req: { readonly socket: { readonly destroyed: boolean } };
  on(event: "close" | "drain" | "error", listener: () => void): unknown;
  once(event: "close", listener: () => void): unknown;
  off(event: "drain", listener: () => void): unknown;
}

/** A wait that a caller can bear, where a failure is to be tried again and says not when. */
const retryAfterDefaultMs = 1_000;
/** More names than that help nobody. */
const ignoredLengthMax = 1_024;

/** One HTTP request and its answer, which is sent once. */
export class Exchange implements Patience {
  readonly request: HttpRequest;
  readonly response: HttpWriter;
  /** Ours; a UUIDv7. */
  readonly requestId: string;
  readonly #edge: Edge;
  readonly #endpoint: Endpoint;
  readonly #startMs: number;
  /** Called when the answer is handed over, or its reader is gone. */
  onGone: (() => void) | undefined;
  #gone = false;
  /** The model that was asked for, once that is known. */
  #model: string | undefined;
  #firstTokenSeen = false;
  /** How it went, where it did not go well. */
  #outcome: Outcome | undefined;
  /** Members of the request that have no effect; undefined: none. */
  #ignored: Set<string> | undefined;
  /** Undefined: no limit counts the request, or none has told of itself. */
  #limits: RateLimits | undefined;

  constructor(edge: Edge, endpoint: Endpoint, request: HttpRequest, response: HttpResponse) {
    this.#edge = edge;
    this.#endpoint = endpoint;
    this.request = request;
    this.response = response;
    this.requestId = edge.ids.uuidv7();
    this.#startMs = edge.clock.monotonicMs();
    // An error of the connection is followed by its close, which is what endpoints want to know of.
    request.on("error", ignore);
    this.response.on("error", ignore);
    this.response.on("close", () => {
      this.#gone = true;
      this.#count();
      this.onGone?.();
    });
  }

  /** The model that is asked for, for the counters. */
  asks(model: string): void {
    this.#model = model;
  }

  /** The engine's first token is there. */
  firstToken(): void {
    if (this.#firstTokenSeen || this.#model === undefined) return;
    this.#firstTokenSeen = true;
    const labels = { endpoint: this.#endpoint, model: this.#model };
    this.#edge.metrics.timeToFirstToken(labels, this.#edge.clock.monotonicMs() - this.#startMs);
  }

  /** It failed after its answer had begun. */
  failed(error: WeirError): void {
    this.#outcome ??= error.reason;
  }

  #count(): void {
    const outcome = this.#outcome ?? (this.response.writableEnded ? "ok" : ErrorReason.CANCELLED);
    const labels = { endpoint: this.#endpoint, model: this.#model, outcome };
    this.#edge.metrics.request(labels, this.#edge.clock.monotonicMs() - this.#startMs);
  }

  get clock(): Clock {
    return this.#edge.clock;
  }

  get slowReaderTimeoutMs(): number {
    return this.#edge.http.slowReaderTimeoutMs;
  }

  /** The answer has begun, or nobody waits for it. */
  get over(): boolean {
    return this.response.headersSent || this.response.writableEnded || this.#gone;
  }

  /** Adds names to the header that tells what had no effect. */
  ignore(members: Iterable<string>): void {
    for (const member of members) {
      this.#ignored ??= new Set();
      this.#ignored.add(member);
    }
  }

  /** What the caller's limits have left. */
  limits(limits: RateLimits): void {
    this.#limits = limits;
  }

  /** Headers of every answer. */
  headers(): Headers {
    const headers: Headers = {
      "x-request-id": this.requestId,
      "openai-processing-ms": Math.round(this.#edge.clock.monotonicMs() - this.#startMs),
    };
    const theirs = clientRequestId(this.request);
    if (theirs !== undefined) headers["x-client-request-id"] = theirs;
    if (this.#limits?.requests) addLimitHeaders(headers, "requests", this.#limits.requests);
    if (this.#limits?.tokens) addLimitHeaders(headers, "tokens", this.#limits.tokens);
    if (this.#ignored !== undefined) headers["x-weir-ignored"] = headerFromNames(this.#ignored);
    return headers;
  }

  json(status: number, body: Body, extra?: Headers): void {
    if (this.over) return;
    const headers = this.headers();
    headers["content-type"] = "application/json";
    if (extra !== undefined) Object.assign(headers, extra);
    headers["content-length"] = bytesIn(body);
    if (this.request.method === "HEAD") body = "";
    drainThen(this, this.request, this.response, (closing) => {
      if (closing) headers["connection"] = "close";
      this.response.writeHead(status, headers);
      return body;
    });
  }

  refuse(refusal: Refusal): void {
    this.#outcome ??= ErrorReason.INVALID_ARGUMENT;
    this.json(refusal.status, refusalBody(refusal), refusal.headers);
  }

  fail(error: WeirError): void {
    const told = this.#told(error);
    this.failed(told);
    const row = errorRow(told.reason);
    this.json(row.http, JSON.stringify(openaiErrorBody(told)), failureHeaders(told));
  }

  /** Runs a step, and answers with what it throws. */
  attempt(step: () => void): void {
    try {
      step();
    } catch (thrown) {
      this.fail(weirErrorFrom(thrown));
    }
  }

  /** A defect is logged with its cause, and told with the id to quote. */
  #told(error: WeirError): WeirError {
    if (error.reason !== ErrorReason.INTERNAL || error.facts["request_id"] !== undefined) return error;
    this.#edge.log.error({ request_id: this.requestId, err: error.cause ?? error }, "the edge failed");
    return fail(ErrorReason.INTERNAL, { request_id: this.requestId }, { cause: error });
  }
}

const ignore = (): void => undefined;

function failureHeaders(error: WeirError): Headers {
  const { http, retry } = errorRow(error.reason);
  const headers: Headers = {};
  if (http === 401) headers["www-authenticate"] = 'Bearer realm="weir"';
  Object.assign(headers, refusingLimitHeaders(error));
  const retried = http === 409 || http === 422 || http === 429 || http >= 500;
  if (!retried) return headers;
  if (retry === Retry.NO) {
    // Clients, or what stands around them, try these statuses again unless they are told not to.
    headers["x-should-retry"] = "false";
  } else if (retry === Retry.AFTER || http === 429 || http === 503) {
    const afterMs = Math.max(1, Math.ceil(error.retryAfterMs ?? retryAfterDefaultMs));
    headers["retry-after-ms"] = afterMs;
    headers["retry-after"] = Math.ceil(afterMs / 1000);
  }
  return headers;
}

/** Names come from the request's body: only what is plain in a header goes into one. */
function headerFromNames(names: ReadonlySet<string>): string {
  let list = "";
  for (const name of names) {
    if (!/^[\w.[\]*-]{1,64}$/.test(name)) continue;
    if (list.length + name.length > ignoredLengthMax) return `${list}, ...`;
    list += list === "" ? name : `, ${name}`;
  }
  return list;
}
