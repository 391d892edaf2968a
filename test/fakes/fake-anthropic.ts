import { type FakeHttp, type FakeHttpOptions, startFakeHttp } from "./fake-http.ts";

export type { FakeExchange } from "./fake-http.ts";

const models = { data: [{ type: "model", id: "fake" }], has_more: false, first_id: "fake", last_id: "fake" };

/** Starts an API with one model. */
export function startFakeAnthropic(options: Partial<FakeHttpOptions> = {}): Promise<FakeHttp> {
  const routes = { "/v1/models?limit=1": models, "/v1/models?limit=1000": models };
  return startFakeHttp({ routes, ...options });
}

/** An event of a stream, with its name in both places. */
export function named(type: string, members: Record<string, unknown> = {}): string {
  return `event: ${type}\ndata: ${JSON.stringify({ type, ...members })}\n\n`;
}

/** A message's beginning. */
export function messageStart(usage: unknown = { input_tokens: 3, output_tokens: 1 }): string {
  const message = { id: "msg_1", type: "message", role: "assistant", content: [], stop_reason: null, usage };
  return named("message_start", { message });
}

/** A block of text, whole. */
export function textBlock(text: string, index = 0): string {
  return (
    named("content_block_start", { index, content_block: { type: "text", text: "" } }) +
    named("content_block_delta", { index, delta: { type: "text_delta", text } }) +
    named("content_block_stop", { index })
  );
}

/** A message's end. */
export function messageEnd(reason: unknown = "end_turn", usage: unknown = { output_tokens: 2 }): string {
  return named("message_delta", { delta: { stop_reason: reason, stop_sequence: null }, usage }) + named("message_stop");
}
