import { type FakeHttp, type FakeHttpOptions, startFakeHttp } from "./fake-http.ts";

export type { FakeExchange } from "./fake-http.ts";

/** What it says of itself. */
export const tgiInfo = {
  model_id: "fake/model",
  model_pipeline_tag: "text-generation",
  max_concurrent_requests: 128,
  max_stop_sequences: 4,
  max_input_tokens: 1_023,
  max_total_tokens: 1_024,
  router: "text-generation-router",
  version: "3.3.7",
};

/** Starts a TGI with a chat template. */
export function startFakeTgi(options: Partial<FakeHttpOptions> = {}): Promise<FakeHttp> {
  return startFakeHttp({
    routes: { "/info": tgiInfo, "/health": "" },
    questions: { "/chat_tokenize": { tokenize_response: [], templated_text: "" } },
    ...options,
  });
}

/** An event of a token. */
export function tokenEvent(text: string, more: Record<string, unknown> = {}, special = false): unknown {
  return { index: 1, token: { id: 7, text, logprob: -0.5, special }, generated_text: null, details: null, ...more };
}

/** The event of the last token. */
export function lastEvent(text: string, details: Record<string, unknown> = {}): unknown {
  const whole = { finish_reason: "length", generated_tokens: 2, seed: null, input_length: 3, ...details };
  return tokenEvent(text, { generated_text: "", details: whole });
}
