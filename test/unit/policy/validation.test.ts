import { create } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { CreateKeyRequestSchema, ListKeysRequestSchema } from "../../../gen/ts/weir/auth/v1/key_service_pb.ts";
import { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import { GenerateRequestSchema } from "../../../gen/ts/weir/router/v1/inference_service_pb.ts";
import { violationOf } from "../../../services/runtime/policy/validation.ts";

const key = (init: object) =>
  [CreateKeyRequestSchema, create(CreateKeyRequestSchema, { requestId: "r", name: "n", ...init })] as const;
const page = (init: object) => [ListKeysRequestSchema, create(ListKeysRequestSchema, init)] as const;
const generate = (init: object) =>
  [GenerateRequestSchema, create(GenerateRequestSchema, { model: "m", ...init })] as const;

test.each([
  ["a request_id that is missing", key({ requestId: "" }), "request_id", "string_below_min_length"],
  ["a request_id that is too long", key({ requestId: "r".repeat(65) }), "request_id", "string_above_max_length"],
  ["a request_id with a space", key({ requestId: "r r" }), "request_id", "invalid_value"],
  ["a permission that is none", key({ permissions: ["models.read", "NO"] }), "permissions[1]", "invalid_value"],
  [
    "too many permissions",
    key({ permissions: Array.from({ length: 65 }, (_, n) => `a.${"b".repeat(n + 1)}`) }),
    "permissions",
    "array_above_max_length",
  ],
  ["a label that is too long", key({ labels: { team: "x".repeat(513) } }), 'labels["team"]', "string_above_max_length"],
  ["an unknown reach", key({ reach: 9 }), "reach", "invalid_value"],
  ["a page that is too large", page({ pageSize: 501 }), "page_size", "invalid_value"],
  ["no input at all", generate({}), "input", "missing_required_parameter"],
] as const)("%s is told with its field and code", (_name, [schema, message], param, code) => {
  const error = violationOf(schema, message);
  expect(error?.reason).toBe(ErrorReason.INVALID_ARGUMENT);
  expect(error?.facts).toMatchObject({ param, code });
});

test("what keeps the rules has no violation", () => {
  expect(violationOf(...key({}))).toBeUndefined();
});

test("all problems are told, the first by its field, and a flood of them is cut", () => {
  const two = violationOf(...key({ requestId: "r r", name: "" }));
  expect(two?.facts).toMatchObject({ param: "request_id" });
  expect(two?.facts["problem"]).toMatch(/; `name`: /);
  const labels = Object.fromEntries(Array.from({ length: 40 }, (_, n) => [`k${n}`, "x".repeat(513)]));
  const flood = violationOf(...key({ labels }));
  expect(flood?.facts["problem"]).toMatch(/and \d+ more$/);
  expect(flood?.message).not.toContain("xxx");
});
