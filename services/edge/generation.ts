import type { Principal } from "../../gen/ts/weir/auth/v1/principal_pb.ts";
import { Answer } from "./answer.ts";
import { BodyDelivery } from "./body-delivery.ts";
import type { Edge } from "./edge.ts";
import type { Exchange } from "./exchange.ts";
import type { JsonObject } from "./json/parse.ts";
import type { AnswerHead, BodyFormat, ChunkFormat } from "./openai/answer-format.ts";
import type { DecodeOptions } from "./openai/chat-request.ts";
import type { Decoded } from "./openai/draft.ts";
import { generateAll } from "./prompts.ts";
import { readJsonBody } from "./request-body.ts";
import { affinityOf, deadlineOf } from "./request-headers.ts";
import { StreamDelivery } from "./stream-delivery.ts";

/** An endpoint that generates text: how its body is read, and its answer written. */
export interface GenerationEndpoint {
  /** What its answers' ids begin with. */
  readonly idPrefix: string;
  decode(body: JsonObject, options: DecodeOptions): Decoded;
  chunks(head: AnswerHead): ChunkFormat;
  body(head: AnswerHead): BodyFormat;
}

/** Reads the request, runs it, and sends what comes to the caller for as long as it is there. */
export function generate(edge: Edge, endpoint: GenerationEndpoint, exchange: Exchange, principal: Principal): void {
  readJsonBody(exchange, edge.http, (body) => {
    const decoded = endpoint.decode(body, { strict: edge.http.strict });
    const affinity = affinityOf(exchange.request, body);
    for (const request of decoded.requests) request.affinityHint = affinity;
    exchange.ignore(decoded.ignored);
    run(edge, endpoint, exchange, principal, decoded);
  });
}

function run(
  edge: Edge,
  endpoint: GenerationEndpoint,
  exchange: Exchange,
  principal: Principal,
  decoded: Decoded,
): void {
  const [first] = decoded.requests;
  // Gone while its body was unpacked or its key looked up.
  if (first === undefined || exchange.over) return;
  const { model, stream } = first;
  exchange.asks(model);
  const timeoutMs = deadlineOf(exchange.request, stream);
  const untilMs = timeoutMs === undefined ? undefined : edge.clock.monotonicMs() + timeoutMs;
  const choices = Math.max(first.choices, 1) * decoded.requests.length;
  const head: AnswerHead = {
    id: endpoint.idPrefix + exchange.requestId.replaceAll("-", ""),
    created: Math.floor(edge.clock.nowMs() / 1000),
    model,
    choices,
    includeUsage: decoded.includeUsage,
    functionCalls: decoded.functionCalls,
  };
  const answer = new Answer(
    model,
    choices,
    stream
      ? (control) => new StreamDelivery(exchange, endpoint.chunks(head), edge.http, control)
      : (control) => new BodyDelivery(exchange, endpoint.body(head), model, control),
  );
  // Also before the first byte, and where the answer comes in one piece: nobody would read it.
  const leave = (): void => answer.leave();
  exchange.onGone = leave;
  answer.run((sink) =>
    generateAll(
      decoded.requests,
      (request, index, part) =>
        edge.inference.generate(
          request,
          {
            principal,
            // Every prompt is a request of its own to those who count.
            requestId: index === 0 ? exchange.requestId : edge.ids.uuidv7(),
            ...(untilMs === undefined ? {} : { timeoutMs: untilMs - edge.clock.monotonicMs() }),
            trusted: true,
          },
          part,
        ),
      sink,
    ),
  );
}
