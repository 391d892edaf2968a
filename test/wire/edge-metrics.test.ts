import { afterEach, beforeEach, expect, it } from "vitest";
import { type EdgeServer, keys, startEdge } from "../fakes/edge-server.ts";

let edge: EdgeServer;
beforeEach(async () => {
  edge = await startEdge();
});
afterEach(() => edge[Symbol.asyncDispose]());

const chat = (body: object, key: string = keys.good) =>
  fetch(`${edge.url}/v1/chat/completions`, {
    method: "POST",
    headers: { authorization: `Bearer ${key}`, "content-type": "application/json" },
    body: JSON.stringify(body),
  }).then((response) => response.text());

const messages = [{ role: "user", content: "Hello!" }];

/** The value of weir_requests_total with these labels. */
async function requests(endpoint: string, model: string, outcome: string): Promise<number> {
  const line = new RegExp(
    `^weir_requests_total\\{endpoint="${endpoint}",model="${model}",outcome="${outcome}"\\} (\\d+)$`,
    "m",
  );
  return Number(line.exec(await edge.counted())?.[1] ?? 0);
}

it("counts every request once, by endpoint, model and outcome", async () => {
  await chat({ model: "weir-sim", messages });
  await chat({ model: "weir-sim", messages, stream: true });
  await chat({ model: "weir-sim", messages: [] });
  await chat({ model: "weir-sim", messages }, keys.revoked);
  await fetch(`${edge.url}/v1/models`, { headers: { authorization: `Bearer ${keys.good}` } }).then((response) =>
    response.text(),
  );
  await expect.poll(() => requests("chat_completions", "weir-sim", "ok")).toBe(2);
  await expect.poll(() => requests("chat_completions", "none", "invalid_argument")).toBe(1);
  await expect.poll(() => requests("chat_completions", "none", "key_revoked")).toBe(1);
  await expect.poll(() => requests("models", "none", "ok")).toBe(1);
  expect(await edge.counted()).toMatch(
    /weir_time_to_first_token_seconds_count\{endpoint="chat_completions",model="weir-sim"\} 2/,
  );
});

it("makes no series of what callers write", async () => {
  await chat({ model: "no-such-model-1", messages });
  await chat({ model: "no-such-model-2", messages });
  await expect.poll(() => edge.counted()).toContain('model="other"');
  expect(await edge.counted()).not.toContain("no-such-model");
});
