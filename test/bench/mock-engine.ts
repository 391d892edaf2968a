import { createServer, type ServerResponse } from "node:http";
import { answer, firstEvent, frameEvent, lastEvents, modelList, pacedModel, plainModel } from "./mock-answer.ts";

// An OpenAI-compatible upstream that costs as little as it can: fixed bytes, and frames at a fixed pace.
// The request says what it wants in its model: "mock", or "mock-<frames>-<ms>" for a stream.

const list = modelList([plainModel, pacedModel(64, 5), pacedModel(64, 50), pacedModel(40, 50), pacedModel(8, 1)]);

function stream(response: ServerResponse, frames: number, everyMs: number): void {
  response.writeHead(200, { "content-type": "text/event-stream" });
  response.write(firstEvent);
  let sent = 0;
  const timer = setInterval(() => {
    sent++;
    response.write(frameEvent);
    if (sent < frames) return;
    clearInterval(timer);
    response.end(lastEvents(frames));
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
  process.stdout.write(`${JSON.stringify({ ports: [typeof address === "object" ? address?.port : 0] })}\n`);
});
