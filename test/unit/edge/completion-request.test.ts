import { expect, test } from "vitest";
import { isJsonObject, type JsonObject, parseJsonObject } from "../../../services/edge/json/parse.ts";
import { decodeCompletionRequest } from "../../../services/edge/openai/completion-request.ts";

function decode(members: object) {
  const parsed = parseJsonObject(Buffer.from(JSON.stringify({ model: "m", prompt: "p", ...members })));
  if (!("value" in parsed) || !isJsonObject(parsed.value)) throw new Error("the test's own body is refused");
  return decodeCompletionRequest(parsed.value satisfies JsonObject, { strict: false });
}

test.each<[unknown, object[]]>([
  ["text", [{ case: "prompt", value: "text" }]],
  [
    ["a", "b"],
    [
      { case: "prompt", value: "a" },
      { case: "prompt", value: "b" },
    ],
  ],
  [[1, 2, 3], [{ case: "tokenIds", value: { ids: [1, 2, 3] } }]],
  [
    [[1], [2, 3]],
    [
      { case: "tokenIds", value: { ids: [1] } },
      { case: "tokenIds", value: { ids: [2, 3] } },
    ],
  ],
])("prompt %j", (prompt, inputs) => {
  expect(decode({ prompt }).requests.map(({ input }) => input)).toMatchObject(inputs);
});

test.each<[object, object]>([
  [{}, { sampling: { maxTokens: 16 }, echo: false, suffix: "", bestOf: 0, logprobs: undefined }],
  [{ max_tokens: 3 }, { sampling: { maxTokens: 3 } }],
  [{ echo: true }, { echo: true }],
  [
    { echo: true, max_tokens: 0, logprobs: 1 },
    { echo: true, sampling: { maxTokens: 0 }, logprobs: { top: 1 } },
  ],
  [{ suffix: "end" }, { suffix: "end" }],
  [
    { best_of: 4, n: 2 },
    { bestOf: 4, choices: 2 },
  ],
  [
    { best_of: 2, n: 2, stream: true },
    { bestOf: 2, stream: true },
  ],
  [{ logprobs: 0 }, { logprobs: { top: 0 } }],
  [{ logprobs: 5 }, { logprobs: { top: 5 } }],
  [{ response_format: { type: "json_object" } }, { responseFormat: { form: { case: "jsonObject" } } }],
  [{ use_beam_search: true }, { extrasJson: '{"use_beam_search":true}' }],
])("%j", (members, expected) => {
  expect(decode(members).requests[0]).toMatchObject(expected);
});
