import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import OpenAI from "openai";
import { makeParseableResponseFormat } from "openai/lib/parser";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Gateway, startGateway } from "../fakes/gateway.ts";
import { openFolder } from "../fakes/open-folder.ts";
import { RecordTail } from "../fakes/record-tail.ts";
import { type SimulatorProcess, startSimulatorProcess } from "../fakes/simulator-process.ts";

let engine: SimulatorProcess;
let tail: RecordTail;
let gateway: Gateway;
let client: OpenAI;

beforeAll(async () => {
  engine = await startSimulatorProcess(["--decode-ms", "5", "--prefill-ms", "0", "--tgis-ibm"]);
  tail = new RecordTail(engine.recordPath);
  const file = join(await openFolder("weir-templates-"), "template.jinja");
  await writeFile(file, "{% for message in messages %}{{ message.content }}\n{% endfor %}");
  gateway = await startGateway(`pools:
  - { id: triton, replicas: [{ url: "${engine.grpcUrl}" }] }
  - { id: tgi, replicas: [{ url: "${engine.tgiUrl}" }] }
  - { id: tgis, replicas: [{ url: "${engine.tgisUrl}" }] }
  - { id: anthropic, hosted: true, engine_key: key, replicas: [{ url: "${engine.anthropicUrl}" }] }
models:
  - { id: llmapi, pool: triton, engine_model: llmapi, chat_template: "${file}" }
  - { id: ensemble, pool: triton, engine_model: ensemble, chat_template: "${file}" }
  - { id: vllm, pool: triton, engine_model: vllm_model, chat_template: "${file}" }
  - { id: tgi, pool: tgi, engine_model: weir-sim }
  - { id: ibm, pool: tgis, engine_model: tgis, chat_template: "${file}" }
  - { id: anthropic, pool: anthropic, engine_model: weir-sim, context_length: 8192 }
`);
  client = new OpenAI({ baseURL: `${gateway.weir.url}/v1`, apiKey: gateway.key, maxRetries: 0, timeout: 20_000 });
}, 60_000);
afterAll(async () => {
  await gateway?.[Symbol.asyncDispose]();
  tail?.[Symbol.dispose]();
  await engine?.[Symbol.asyncDispose]();
});

const says = (text: string) => [{ role: "user" as const, content: `[[sim text ${text}]]` }];
const object = { type: "json_object" as const };
/** As `zodResponseFormat(z.object({ city: z.string(), rivers: z.array(z.string()) }), "place")` sends it. */
const schema = {
  type: "object",
  properties: { city: { type: "string" }, rivers: { type: "array", items: { type: "string" } } },
  required: ["city", "rivers"],
  additionalProperties: false,
  $schema: "http://json-schema.org/draft-07/schema#",
};
const place = { type: "json_schema" as const, json_schema: { name: "place", strict: true, schema } };

describe.each(["llmapi", "tgi", "ibm", "anthropic"])(
  "some JSON object, of %s, which has no grammar for it",
  (model) => {
    it("is the answer, without what stands around it", async () => {
      const { choices, usage } = await client.chat.completions.create({
        model,
        messages: says('{"city": "Prag", "n": [1, 2]} I hope this helps.'),
        response_format: object,
      });
      expect(choices[0]).toMatchObject({
        finish_reason: "stop",
        message: { content: '{"city": "Prag", "n": [1, 2]}' },
      });
      expect(usage?.completion_tokens).toBeGreaterThan(0);
    });

    it("and where it is none, the client gets an error that it retries by itself", async () => {
      const asked = client.chat.completions.create({ model, messages: says("Prag."), response_format: object });
      await expect(asked).rejects.toMatchObject({ status: 502, code: "answer_mismatch" });
      const again = client.chat.completions.create(
        { model, messages: says("Prag."), response_format: object },
        { maxRetries: 1 },
      );
      await expect(again).rejects.toBeInstanceOf(OpenAI.InternalServerError);
      const mismatches = () =>
        gateway.generations().filter((line) => line.model === model && line.reason === "ANSWER_MISMATCH");
      await expect.poll(() => mismatches().length).toBe(3);
      expect(mismatches().map(({ end, attempts }) => [end, attempts.length])).toEqual(Array(3).fill(["failed", 1]));
    });

    it("and a stream ends with the error, and its engine stops", async () => {
      const stream = await client.chat.completions.create({
        model,
        messages: says(`{"a": "b"; ${"and so on ".repeat(400)}`),
        response_format: object,
        stream: true,
      });
      let text = "";
      const read = async () => {
        for await (const { choices } of stream) text += choices[0]?.delta.content ?? "";
      };
      await expect(read()).rejects.toMatchObject({ code: "answer_mismatch" });
      expect('{"a": "b"').toContain(text);
      await expect.poll(() => tail.open().length).toBe(0);
    });

    it("and an answer that was cut keeps its reason", async () => {
      const { choices } = await client.chat.completions.create({
        model,
        messages: says('{"city": "Prag and many another city of the river"}'),
        response_format: object,
        max_completion_tokens: 4,
      });
      expect(choices[0]?.finish_reason).toBe("length");
    });
  },
);

describe.each(["llmapi", "ibm"])("JSON of a schema, of %s, which has no grammar", (model) => {
  const parsed = makeParseableResponseFormat(place, (content) => JSON.parse(content) as { city: string });

  it("is parsed by the official client", async () => {
    const messages = says('{"city": "Prag", "rivers": ["Moldau"]}');
    const answer = await client.chat.completions.parse({ model, messages, response_format: parsed });
    expect(answer.choices[0]?.message.parsed).toEqual({ city: "Prag", rivers: ["Moldau"] });
    const streamed = client.chat.completions.stream({ model, messages, response_format: parsed });
    expect((await streamed.finalChatCompletion()).choices[0]?.message.parsed?.city).toBe("Prag");
  });

  it("and where it does not fit, the client hears where", async () => {
    const messages = says('{"city": "Prag", "rivers": [7]}');
    const asked = client.chat.completions.parse({ model, messages, response_format: parsed });
    await expect(asked).rejects.toMatchObject({ status: 502, code: "answer_mismatch" });
    await expect(asked).rejects.toThrow("#/properties/rivers/items/type");
    const streamed = client.chat.completions.stream({ model, messages, response_format: parsed });
    await expect(streamed.finalChatCompletion()).rejects.toMatchObject({ code: "answer_mismatch" });
  });

  it.each([
    ["leads elsewhere", { $ref: "http://127.0.0.1:9/x" }, "response_format.json_schema.schema.$ref"],
    ["runs in circles", { $ref: "#" }, "response_format.json_schema.schema"],
    ["has a pattern that backtracks", { pattern: "(a)\\1" }, "response_format.json_schema.schema.pattern"],
    ["is a megabyte", { enum: ["x".repeat(1_000_000)] }, "response_format.json_schema.schema"],
  ])("a schema that %s is a 400, and no engine hears of it", async (_name, bad, param) => {
    const before = tail.read().length;
    const response_format = { type: "json_schema" as const, json_schema: { name: "x", schema: bad } };
    const asked = client.chat.completions.create({ model, messages: says("{}"), response_format });
    await expect(asked).rejects.toMatchObject({ status: 400, param });
    expect(tail.read().length).toBe(before);
  });

  it("a pattern that would backtrack for ever takes a moment", async () => {
    const hostile = { type: "object", properties: { a: { type: "string", pattern: "^(a+)+$" } } };
    const response_format = { type: "json_schema" as const, json_schema: { name: "x", schema: hostile } };
    const messages = says(`{"a": "${"a".repeat(400)}!"}`);
    const asked = client.chat.completions.create({ model, messages, response_format, max_completion_tokens: 1_000 });
    await expect(asked).rejects.toThrow("#/properties/a/pattern");
  });
});

const checked = ["llmapi", "ibm"].flatMap((model) => [
  { model, form: "choice", structured_outputs: { choice: ["yes", "no"] }, good: "yes", bad: "maybe" },
  { model, form: "regex", structured_outputs: { regex: "\\d{4}" }, good: "2026", bad: "in 2026" },
]);
it.each(checked)("a $form of structured_outputs is checked too, of $model", async (row) => {
  const { model, form, structured_outputs, good, bad } = row;
  const ask = (text: string) =>
    client.chat.completions.create(Object.assign({ model, messages: says(text) }, { structured_outputs }));
  expect((await ask(good)).choices[0]?.message.content).toBe(good);
  await expect(ask(bad)).rejects.toThrow(form);
});

it("an engine with a grammar is asked for the form, and its answer is not checked", async () => {
  const { choices } = await client.chat.completions.create({
    model: "ensemble",
    messages: [{ role: "user", content: "tell me of the river" }],
    response_format: place,
  });
  expect(Object.keys(JSON.parse(choices[0]?.message.content ?? ""))).toEqual(["city", "rivers"]);
});

it.each(["ensemble", "vllm", "tgi"])("one of some texts is what %s is asked for", async (model) => {
  const structured_outputs = { choice: ["yes", "no"] };
  const body = Object.assign({ model, messages: says("maybe") }, { structured_outputs });
  const { data, response } = await client.chat.completions.create(body).withResponse();
  expect(data.choices[0]?.message.content).toBe("yes");
  expect(response.headers.get("x-weir-ignored")).toBeNull();
});

it.each(["llmapi", "tgi", "ibm"])("a grammar, which %s has not, is refused", async (model) => {
  const body = Object.assign({ model, messages: says("yes") }, { structured_outputs: { grammar: 'root ::= "yes"' } });
  await expect(client.chat.completions.create(body)).rejects.toMatchObject({
    status: 400,
    param: "structured_outputs",
  });
});
