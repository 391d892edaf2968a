import { create } from "@bufbuild/protobuf";
import { pino } from "pino";
import { expect, test } from "vitest";
import { ReplicaLoadSchema, ReplicaSchema } from "../../../gen/ts/weir/catalog/v1/replica_pb.ts";
import { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import { createHealthLog } from "../../../services/catalog/health-log.ts";
import type { ProbeOutcome } from "../../../services/catalog/prober.ts";
import { fail } from "../../../services/runtime/errors/fail.ts";

const replica = (id: string) => create(ReplicaSchema, { id, poolId: "gpu", url: "http://10.0.0.1:8000" });
const answered = (id = "a"): ProbeOutcome => ({
  kind: "answered",
  replica: replica(id),
  result: { engine: "vllm", models: [], load: create(ReplicaLoadSchema) },
});
const failed = (problem: string, id = "a"): ProbeOutcome => ({
  kind: "failed",
  replica: replica(id),
  error: fail(ErrorReason.ENGINE_PROTOCOL, { problem }),
});

test("a replica that is away is told of once, and once when it is back", () => {
  const lines: { level: number; replica: string; problem?: string }[] = [];
  const log = createHealthLog(pino({}, { write: (line) => void lines.push(JSON.parse(line)) }));
  const outcomes = [answered(), failed("x"), failed("x"), failed("y"), failed("x", "b"), answered(), answered()];
  for (const outcome of outcomes) log(outcome);
  expect(lines.map(({ level, replica: id, problem }) => [level, id, problem])).toEqual([
    [40, "a", "ENGINE_PROTOCOL: x"],
    [40, "a", "ENGINE_PROTOCOL: y"],
    [40, "b", "ENGINE_PROTOCOL: x"],
    [30, "a", undefined],
  ]);
});
