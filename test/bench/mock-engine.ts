import { createServer, type ServerResponse } from "node:http";

// An OpenAI-compatible upstream that costs as little as it can: fixed bytes, and frames at a fixed pace.
// The request says what it wants in its model: "mock", or "mock-<frames>-<ms>" for a stream.

const text = "The river keeps its measure in every season, and the people downstream draw by turns.";
const models = ["mock", "mock-64-5", "mock-64-50"];
const list = JSON.stringify({
  object: "list",
  data: models.map((id) => ({ id, object: "model", created: 1, owned_by: "mock", max_model_len: 131072 })),
});
const answer = JSON.stringify({
  id: "chatcmpl-1",
  object: "chat.completion",
  created: 1,
  model: "mock",
  choices: [{ index: 0, message: { role: "assistant", content: text }, finish_reason: "stop" }],
  usage: { prompt_tokens: 20, completion_tokens: 18, total_tokens: 38 },
});
const chunk = (delta: object, finish: string | null) =>
  `data: ${JSON.stringify({ id: "chatcmpl-1", object: "chat.completion.chunk", created: 1, model: "mock", choices: [{ index: 0, delta, finish_reason: finish }] })}\n\n`;
const first = chunk({ role: "assistant", content: "" }, null);
const token = chunk({ content: " river" }, null);
const last = `${chunk({}, "stop")}data: ${JSON.stringify({ id: "chatcmpl-1", object: "chat.completion.chunk", created: 1, model: "mock", choices: [], usage: { prompt_tokens: 20, completion_tokens: 64, total_tokens: 84 } })}\n\ndata: [DONE]\n\n`;

function stream(response: ServerResponse, frames: number, everyMs: number): void {
  response.writeHead(200, { "content-type": "text/event-stream" });
  response.write(first);
  let sent = 0;
  const timer = setInterval(() => {
    sent++;
    response.write(token);
    if (sent < frames) return;
    clearInterval(timer);
    response.end(last);
  }, everyMs);
  response.once("close", () => clearInterval(timer));
}

const server = createServer({ noDelay: true, keepAliveTimeout: 600_000 }, (request, response) => {
  if (request.method === "GET") {
    const known = request.url === "/v1/models";
    response.writeHead(known ? 200 : 404, { "content-type": "application/json" });
    response.end(known ? list : "{}");
    return;
  }
  let body = "";
  request.setEncoding("latin1").on("data", (part: string) => {
    body += part;
  });
  request.on("end", () => {
    const paced = /"model":\s*"mock-(\d+)-(\d+)"/.exec(body);
    if (paced) return stream(response, Number(paced[1]), Number(paced[2]));
    response.writeHead(200, { "content-type": "application/json", "content-length": Buffer.byteLength(answer) });
    response.end(answer);
  });
});
server.listen(0, "127.0.0.1", () => {
  const address = server.address();
  process.stdout.write(`${JSON.stringify({ port: typeof address === "object" ? address?.port : 0 })}\n`);
});
