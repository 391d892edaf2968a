import { type FakeHttp, type FakeHttpOptions, startFakeHttp } from "./fake-http.ts";

export type { FakeExchange, FakeHttp as FakeOpenAi } from "./fake-http.ts";

const oneModel = { object: "list", data: [{ id: "fake", object: "model", owned_by: "nobody" }] };

/** Starts an OpenAI-compatible HTTP server, which lists one model where it is not told otherwise. */
export function startFakeOpenAi(options: Partial<FakeHttpOptions> = {}): Promise<FakeHttp> {
  return startFakeHttp({ routes: { "/v1/models": oneModel }, ...options });
}

/** A chat chunk of one choice. */
export function chatChunk(delta: Record<string, unknown>, finish: string | null = null, index = 0): unknown {
  return { id: "chatcmpl-1", object: "chat.completion.chunk", choices: [{ index, delta, finish_reason: finish }] };
}
