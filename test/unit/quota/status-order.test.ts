import { create } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { LimitStatusSchema } from "../../../gen/ts/weir/quota/v1/limit_pb.ts";
import { fullestFirst } from "../../../services/quota/status-order.ts";
import { limitOf } from "../../fakes/limits.ts";

test("limits come by what remains of them, those that allow none first", () => {
  const status = (id: string, count: string, remaining: bigint) =>
    create(LimitStatusSchema, { limit: limitOf(id, { count }), remaining });
  const big = String(10n ** 15n);
  const all = [
    status("half", "10", 5n),
    status("whole", "3", 3n),
    status("debt", "100", -50n),
    status("none", "0", 0n),
    status("nearly", big, 1n),
    status("half again", big, 5n * 10n ** 14n),
  ];
  expect(all.toSorted(fullestFirst).map(({ limit }) => limit?.id)).toEqual([
    "none",
    "debt",
    "nearly",
    "half",
    "half again",
    "whole",
  ]);
});
