import type { Principal } from "../../gen/ts/weir/auth/v1/principal_pb.ts";
import { ErrorReason } from "../../gen/ts/weir/error/v1/error_pb.ts";
import type { Started } from "../../gen/ts/weir/router/v1/event_pb.ts";
import { fail, weirErrorFrom } from "../runtime/errors/fail.ts";
import type { CallOptions } from "../runtime/mesh/context.ts";
import type { Edge } from "./edge.ts";
import type { Exchange } from "./exchange.ts";
import type { JsonObject } from "./json/parse.ts";
import { readJsonBody } from "./request-body.ts";
import { deadlineOf } from "./request-headers.ts";
import { answerWith } from "./written.ts";

/** A request that has one answer: what is called, and how the answer is written. */
export interface UnaryCall<R extends { readonly started?: Started | undefined }> {
  readonly model: string;
  /** Members of the body that have no effect. */
  readonly ignored: readonly string[];
  call(options: CallOptions): Promise<R>;
  /** The body, piece by piece. */
  body(answer: R): Iterable<string>;
}

/** Reads the request, runs it, and sends the answer, if the caller is there still. One who leaves cancels it at once. */
export function answerOnce<R extends { readonly started?: Started | undefined }>(
  edge: Edge,
  exchange: Exchange,
  principal: Principal,
  decode: (body: JsonObject) => UnaryCall<R>,
): void {
  readJsonBody(exchange, edge.http, (body) => {
    const call = decode(body);
    if (exchange.over) return;
    exchange.asks(call.model);
    exchange.ignore(call.ignored);
    const leaving = new AbortController();
    const leave = () => leaving.abort(fail(ErrorReason.CANCELLED));
    exchange.onGone = leave;
    const timeoutMs = deadlineOf(exchange.request, false);
    const options: CallOptions = {
      principal,
      requestId: exchange.requestId,
      signal: leaving.signal,
      trusted: true,
      ...(timeoutMs === undefined ? {} : { timeoutMs }),
    };
    call
      .call(options)
      .then((answer) => {
        if (answer.started) {
          exchange.ignore(answer.started.ignored);
          exchange.limits(answer.started);
        }
        answerWith(exchange, call.body(answer));
      })
      .catch((thrown: unknown) => exchange.fail(weirErrorFrom(thrown)));
  });
}
