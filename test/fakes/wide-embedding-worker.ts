import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { parentPort } from "node:worker_threads";

/** The dimensions of every vector. The first value is the input, which is a number as text. */
const dimensions = 3_072;

const rest = new Float32Array(dimensions - 3).fill(0.1);
const restInBase64 = Buffer.from(rest.buffer).toString("base64");
const restInNumbers = Array.from(rest).join();

// Three numbers are 16 characters of base64, without padding.
const inBase64 = (input: string) =>
  `"${Buffer.from(Float32Array.of(Number(input), 0, 0).buffer).toString("base64")}${restInBase64}"`;
const inNumbers = (input: string) => `[${input},0,0,${restInNumbers}]`;

// A server of embeddings: below /base64 they are text, below /numbers lists, whatever is asked for.
const server = createServer((request, response) => {
  const chunks: Buffer[] = [];
  request.on("data", (chunk: Buffer) => chunks.push(chunk));
  request.on("end", () => {
    const vectorOf = request.url?.startsWith("/base64") ? inBase64 : inNumbers;
    const { input } = JSON.parse(Buffer.concat(chunks).toString()) as { input: string[] };
    const data = input.map((one, index) => `{"index":${index},"embedding":${vectorOf(one)}}`).join();
    response.setHeader("content-type", "application/json");
    response.end(`{"data":[${data}],"usage":{"prompt_tokens":${input.length}}}`);
  });
});
server.listen(0, "127.0.0.1", () => parentPort?.postMessage((server.address() as AddressInfo).port));
