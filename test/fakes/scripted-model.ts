import { CountSource, FinishReason } from "../../gen/ts/weir/router/v1/event_pb.ts";
import type { GenerateRequest, GenerateResponse } from "../../gen/ts/weir/router/v1/inference_service_pb.ts";
import { ToolChoiceMode } from "../../gen/ts/weir/router/v1/message_pb.ts";
import { accepted, finished, textDelta, toolCallDelta, usageEvent } from "../../services/drivers/events.ts";
import type { WeirError } from "../../services/runtime/errors/fail.ts";
import type { CallOptions } from "../../services/runtime/mesh/context.ts";
import type { Sink } from "../../services/runtime/mesh/push.ts";

/** One generation that the edge asked for. */
export interface ScriptedCall {
  readonly request: GenerateRequest;
  readonly options: CallOptions;
  readonly sink: Sink<GenerateResponse>;
  /** Why it was cancelled, and when on the machine's monotonic clock; undefined until it is. */
  cancelled: { readonly reason: WeirError; readonly atMs: number } | undefined;
}

/** What a generation says. It may go on later; it says nothing more once it was cancelled. */
export type Script = (call: ScriptedCall) => void;

/** Four words, one event each, one turn each, then the end. */
export const words = ["The", " capital", " is", " Paris"];

/** Says these texts in every choice. */
export function says(...texts: string[]): Script {
  return ({ request, sink }) => {
    sink.event(accepted());
    sink.turn();
    for (const choice of choicesOf(request)) {
      for (const text of texts) {
        sink.event(textDelta(choice, text, 1));
        sink.turn();
      }
      sink.event(finished(choice, FinishReason.STOP));
    }
    sink.event(counts(7, texts.length * choicesOf(request).length));
    sink.turn();
    sink.end();
  };
}

/** A model that does as it is told, as far as a client can see: it calls tools, answers in JSON, counts and stops. */
export const obliging: Script = (call) => {
  const { request, sink } = call;
  const [tool] = request.tools;
  const calls = tool !== undefined && request.toolChoice?.mode !== ToolChoiceMode.NONE;
  const texts = request.responseFormat?.form.case?.startsWith("json") ? ['{"city":', '"Paris"}'] : words;
  const max = request.sampling?.maxTokens ?? texts.length;
  if (!calls) return speak(call, texts.slice(0, max), max < texts.length ? FinishReason.LENGTH : FinishReason.STOP);
  sink.event(accepted());
  for (const choice of choicesOf(request)) {
    sink.event(toolCallDelta(choice, { index: 0, id: `call_${choice}`, name: tool.name, arguments: "" }, 1));
    for (const part of ['{"city"', ':"Paris"}']) {
      sink.event(toolCallDelta(choice, { index: 0, id: "", name: "", arguments: part }, 1));
      sink.turn();
    }
    sink.event(finished(choice, FinishReason.TOOL_CALLS));
  }
  sink.event(counts(9, 3 * choicesOf(request).length));
  sink.turn();
  sink.end();
};

/** One text a turn of the event loop, for as long as somebody listens. */
function speak(call: ScriptedCall, texts: readonly string[], reason: FinishReason): void {
  const { request, sink } = call;
  sink.event(accepted());
  sink.turn();
  const rest = choicesOf(request).flatMap((choice) => [
    ...texts.map((text) => withLogprobs(textDelta(choice, text, 1), request)),
    finished(choice, reason),
  ]);
  const step = () => {
    if (call.cancelled) return;
    const next = rest.shift();
    if (next === undefined) {
      sink.event(counts(7, texts.length * choicesOf(request).length));
      sink.turn();
      sink.end();
    } else {
      sink.event(next);
      sink.turn();
      setImmediate(step);
    }
  };
  step();
}

function withLogprobs(message: GenerateResponse, request: GenerateRequest): GenerateResponse {
  const { event } = message;
  if (request.logprobs === undefined || event.case !== "delta") return message;
  const { fragment } = event.value;
  const token = fragment.case === "text" ? fragment.value : "";
  const bytes = Buffer.from(token);
  const top = Array.from({ length: request.logprobs.top }, (_, i) => ({
    $typeName: "weir.router.v1.TopLogprob" as const,
    token: i === 0 ? token : `${token}${i}`,
    logprob: -0.5 - i,
    bytes,
  }));
  const scored = { token, logprob: -0.5, bytes, top, unscored: false };
  event.value.logprobs.push({ $typeName: "weir.router.v1.TokenLogprob", ...scored });
  return message;
}

function choicesOf(request: GenerateRequest): number[] {
  return Array.from({ length: Math.max(request.choices, 1) }, (_, i) => i);
}

export function counts(promptTokens: number, completionTokens: number): GenerateResponse {
  const source = CountSource.ENGINE;
  return usageEvent({
    promptTokens,
    completionTokens,
    cachedTokens: 2,
    promptSource: source,
    completionSource: source,
  });
}
