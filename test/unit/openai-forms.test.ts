import { create } from "@bufbuild/protobuf";
import { describe, expect, test } from "vitest";
import { ReplicaModelSchema } from "../../gen/ts/weir/catalog/v1/replica_pb.ts";
import { flavourNamed } from "../../services/drivers/openai/flavours.ts";
import { buildRequest } from "../../services/drivers/openai/request.ts";
import { attemptAt } from "../wire/attempts.ts";

const model = create(ReplicaModelSchema, { engineModel: "engine-model" });
const hello = { input: { case: "conversation" as const, value: { messages: [] } } };

describe("a form of the extras", () => {
  const schema = { type: "object" };
  const asked = (structured_outputs: object) => ({ extras: { structured_outputs, user: "me" } });
  const format = (json: object) => ({
    response_format: { type: "json_schema", json_schema: { name: "answer", schema: json } },
  });

  test.each<[string, object, object]>([
    ["vllm", { choice: ["a"], whitespace: 1 }, { structured_outputs: { choice: ["a"], whitespace: 1 } }],
    ["llamacpp", { grammar: 'root ::= "a"' }, { grammar: 'root ::= "a"' }],
    ["llamacpp", { json: schema }, { json_schema: schema }],
    ["llamacpp", { json_object: true }, { json_schema: schema }],
    ["sglang", { choice: ["a.b", "c"] }, { regex: "(?:a\\.b)|(?:c)" }],
    ["sglang", { regex: "a+" }, { regex: "a+" }],
    ["sglang", { grammar: 'root ::= "a"' }, { ebnf: 'root ::= "a"' }],
    ["sglang", { json: JSON.stringify(schema) }, format(schema)],
    ["ollama", { json: schema }, format(schema)],
    ["openai", { json_object: true }, { response_format: { type: "json_object" } }],
  ])("%s of %j", (flavour, given, members) => {
    const text = { responseFormat: { form: { case: "text" as const, value: {} } } };
    for (const request of [hello, { ...hello, ...text }]) {
      const built = buildRequest(attemptAt(model, request, asked(given)), flavourNamed(flavour));
      if (built.kind !== "request") throw new Error(`${built.param} is not supported`);
      const { body } = built;
      expect(body).toMatchObject({ ...members, user: "me" });
      expect("structured_outputs" in body).toBe(flavour === "vllm");
    }
  });

  test.each<[string, object]>([
    ["llamacpp", { regex: "a+" }],
    ["llamacpp", { choice: ["a"] }],
    ["ollama", { grammar: "x" }],
    ["openai", { choice: ["a"] }],
  ])("%s has nothing for %j", (flavour, given) => {
    const built = buildRequest(attemptAt(model, hello, asked(given)), flavourNamed(flavour));
    expect(built).toEqual({ kind: "unsupported", param: "structured_outputs" });
  });

  test("what it does not know, or has beside the request's own, is named", () => {
    const own = { responseFormat: { form: { case: "jsonObject" as const, value: {} } } };
    for (const [request, given] of [
      [hello, { structural_tag: "{}" }],
      [{ ...hello, ...own }, { choice: ["a"] }],
    ] as const) {
      const built = buildRequest(attemptAt(model, request, asked(given)), flavourNamed("sglang"));
      expect(built).toMatchObject({ kind: "request", ignored: ["structured_outputs"] });
    }
  });
});
