// What the mock upstreams say: the same whoever says it.

const text = "The river keeps its measure in every season, and the people downstream draw by turns.";

/** The tokens that an answer in one piece says it used. */
export const promptTokens = 20;
export const completionTokens = 18;

/** The model of answers in one piece. */
export const plainModel = "mock";

/** The model of streams of so many frames, so many milliseconds apart. */
export function pacedModel(frames: number, everyMs: number): string {
  return `mock-${frames}-${everyMs}`;
}

/** The body of `/v1/models`. */
export function modelList(ids: readonly string[]): string {
  const data = ids.map((id) => ({ id, object: "model", created: 1, owned_by: "mock", max_model_len: 131_072 }));
  return JSON.stringify({ object: "list", data });
}

/** The body of an answer in one piece. */
export const answer = JSON.stringify({
  id: "chatcmpl-1",
  object: "chat.completion",
  created: 1,
  model: plainModel,
  choices: [{ index: 0, message: { role: "assistant", content: text }, finish_reason: "stop" }],
  usage: usageOf(completionTokens),
});

function usageOf(completion: number) {
  return {
    prompt_tokens: promptTokens,
    completion_tokens: completion,
    total_tokens: promptTokens + completion,
  };
}

function event(members: object): string {
  const chunk = { id: "chatcmpl-1", object: "chat.completion.chunk", created: 1, model: plainModel, ...members };
  return `data: ${JSON.stringify(chunk)}\n\n`;
}

function choice(delta: object, finish: string | null): string {
  return event({ choices: [{ index: 0, delta, finish_reason: finish }] });
}

/** The events of a stream: its first, each frame, and its end, which says that every frame was a token. */
export const firstEvent = choice({ role: "assistant", content: "" }, null);
export const frameEvent = choice({ content: " river" }, null);
export function lastEvents(frames: number): string {
  return `${choice({}, "stop")}${event({ choices: [], usage: usageOf(frames) })}data: [DONE]\n\n`;
}
