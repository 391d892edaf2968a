import { expect, test } from "vitest";
import { streamsAtOnce } from "../bench/streams.ts";
import { wayNamed } from "../bench/engine-ways.ts";
import { streamsFrom } from "../bench/streams-grpc.ts";

const kibPerStreamMax = 256;

test.each([
  ["an OpenAI engine", streamsAtOnce],
  ["Triton over gRPC", () => streamsFrom(wayNamed("Triton vLLM backend"))],
])(
  "512 streams of 64 frames from %s come whole, and take little memory",
  async (_engine, run) => {
    const { lost, failed, kibPerStream } = await run();
    expect({ lost, failed }).toEqual({ lost: 0, failed: 0 });
    expect(kibPerStream).toBeLessThanOrEqual(kibPerStreamMax);
  },
  90_000,
);
