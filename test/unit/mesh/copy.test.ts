import { create } from "@bufbuild/protobuf";
import { expect, it } from "vitest";
import { AmountsSchema, ConsumerSchema } from "../../../gen/ts/weir/quota/v1/reservation_pb.ts";
import { handedOver } from "../../../services/runtime/mesh/copy.ts";

const amounts = create(AmountsSchema, { inputTokens: 3n });

it("hands a message of a trusted call over as it is", () => {
  expect(handedOver(AmountsSchema, amounts, true)).toBe(amounts);
});

it.each([
  ["a message of a call that is not trusted", amounts, false],
  ["what is no message of that type yet", { inputTokens: 3n }, true],
])("copies %s", (_what, init, trusted) => {
  const copied = handedOver(AmountsSchema, init, trusted);
  expect(copied).not.toBe(init);
  expect(copied).toEqual(amounts);
});

it("does not take one message for another", () => {
  const consumer = create(ConsumerSchema, { orgId: "acme" });
  expect(handedOver(ConsumerSchema, consumer, true)).toBe(consumer);
  expect(handedOver(AmountsSchema, create(AmountsSchema), true).$typeName).toBe("weir.quota.v1.Amounts");
});
