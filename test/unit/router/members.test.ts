import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { describe, expect, test } from "vitest";
import { GatedMember, PoolSchema } from "../../../gen/ts/weir/catalog/v1/pool_pb.ts";
import { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import { GenerateRequestSchema } from "../../../gen/ts/weir/router/v1/inference_service_pb.ts";
import { type PartSchema, Role } from "../../../gen/ts/weir/router/v1/message_pb.ts";
import { checkExtras } from "../../../services/router/members.ts";
import { checkMessages } from "../../../services/router/message-members.ts";
import { WeirError } from "../../../services/runtime/errors/fail.ts";

const own = create(PoolSchema, { id: "own" });
const hosted = create(PoolSchema, { id: "hosted", hosted: true });
const allowing = (...allowedMembers: GatedMember[]) => create(PoolSchema, { id: "open", allowedMembers });

function refusal(outcome: unknown): [string | undefined, string | undefined] | undefined {
  if (!(outcome instanceof WeirError)) return undefined;
  expect(outcome.reason).toBe(ErrorReason.INVALID_ARGUMENT);
  return [outcome.facts["param"], outcome.facts["code"]];
}

describe("members that steer the engine are refused by name", () => {
  const names = [
    "chat_template",
    "chat_template_kwargs",
    "priority",
    "request_id",
    "kv_transfer_params",
    "prompt_embeds",
    "mm_hashes",
    "lora_request",
    "extra_body",
    "user_config",
    "mm_processor_kwargs",
    "media_io_kwargs",
    "api_base",
    "base_url",
    "api_key",
    "__proto__",
    "constructor",
    "prototype",
    "model",
    "messages",
    "n",
    "max_tokens",
    "stream",
  ];
  test.each(names)("%s", (name) => {
    for (const pool of [own, hosted]) {
      expect(refusal(checkExtras(`{"top_a":1,${JSON.stringify(name)}:{"x":1}}`, pool))).toEqual([
        name,
        "unknown_parameter",
      ]);
    }
  });

  test.each([1, 2, 3, 4, 5, 60])("a host at depth %i", (depth) => {
    const json = `${'{"a":'.repeat(depth)}[{"api_base":"http://evil"}]${"}".repeat(depth)}`;
    const path = `${new Array(depth).fill("a").join(".")}[0].api_base`;
    expect(refusal(checkExtras(json, own))).toEqual([path, "unknown_parameter"]);
  });

  test("a depth that would overflow the stack is walked all the same", () => {
    const json = `{"a":${"[".repeat(30_000)}{"api_key":"x"}${"]".repeat(30_000)}}`;
    expect(refusal(checkExtras(json, own))?.[1]).toBe("unknown_parameter");
  });

  test("Object.prototype stays as it is", () => {
    checkExtras('{"vllm_xargs":{"__proto__":{"admin":true}}}', own);
    expect(Reflect.get({}, "admin")).toBeUndefined();
  });
});

describe("what a pool allows", () => {
  const rows: readonly [string, GatedMember, string][] = [
    ["priority", GatedMember.PRIORITY, '{"priority":3}'],
    ["mm_processor_kwargs", GatedMember.MEDIA_KWARGS, '{"mm_processor_kwargs":{"fps":1}}'],
    ["media_io_kwargs", GatedMember.MEDIA_KWARGS, '{"media_io_kwargs":{"video":{"num_frames":4}}}'],
    ["chat_template_kwargs", GatedMember.CHAT_TEMPLATE_KWARGS, '{"chat_template_kwargs":{"enable_thinking":false}}'],
  ];
  test.each(rows)("%s passes where it is allowed, and only there", (name, gate, json) => {
    expect(checkExtras(json, allowing(gate))).toEqual({ extras: JSON.parse(json), ignored: [] });
    const others = [1, 2, 3, 4].filter((one) => one !== gate) as GatedMember[];
    expect(refusal(checkExtras(json, allowing(...others)))).toEqual([name, "unknown_parameter"]);
  });

  test.each([
    ["another key", '{"tokenize":true}', "chat_template_kwargs.tokenize", "unknown_parameter"],
    ["a template inside", '{"chat_template":"{{x}}"}', "chat_template_kwargs.chat_template", "unknown_parameter"],
    ["a value that is no switch", '{"thinking":"{{x}}"}', "chat_template_kwargs.thinking", "invalid_type"],
    ["no object", '"x"', "chat_template_kwargs", "invalid_type"],
  ])("chat_template_kwargs: %s is refused also then", (_name, value, param, code) => {
    const pool = allowing(GatedMember.CHAT_TEMPLATE_KWARGS);
    expect(refusal(checkExtras(`{"chat_template_kwargs":${value}}`, pool))).toEqual([param, code]);
  });
});

describe("what else is carried", () => {
  test("engine options pass, cache_salt is dropped without a word", () => {
    const json =
      '{"cache_salt":"x","guided_json":{"type":"object"},"length_penalty":1.2,"metadata":{"priority":"high"}}';
    expect(checkExtras(json, own)).toEqual({
      extras: { guided_json: { type: "object" }, length_penalty: 1.2, metadata: { priority: "high" } },
      ignored: [],
    });
  });

  test("a hosted pool gets none, and the caller is told which", () => {
    expect(checkExtras('{"length_penalty":1,"cache_salt":"x","user":"u"}', hosted)).toEqual({
      extras: {},
      ignored: ["length_penalty", "user"],
    });
  });

  test.each([
    ["no object", "[1]", "extras_json", "invalid_type"],
    ["no JSON", "{", "extras_json", "invalid_type"],
    ["prompt_logprobs", '{"prompt_logprobs":0}', "prompt_logprobs", "unsupported_parameter"],
    [
      "too many logprob ids",
      JSON.stringify({ logprob_token_ids: new Array(129).fill(1) }),
      "logprob_token_ids",
      "array_above_max_length",
    ],
  ])("%s is refused", (_name, json, param, code) => {
    expect(refusal(checkExtras(json, own))).toEqual([param, code]);
  });
});

describe("what messages carry", () => {
  const withPart = (part: NonNullable<MessageInitShape<typeof PartSchema>["part"]>, extrasJson = "") =>
    create(GenerateRequestSchema, {
      input: {
        case: "conversation",
        value: {
          messages: [{ role: Role.USER, parts: [{ part: { case: "text", value: "see" } }, { part }], extrasJson }],
        },
      },
    });
  const image = (url: string) => withPart({ case: "image", value: { url } });
  const unknown = (json: string) => withPart({ case: "unknownJson", value: json });
  const at = "messages[0].content[1]";
  const urls = allowing(GatedMember.MEDIA_URLS);

  test.each([
    ["http://169.254.169.254/x", "url_not_allowed", "url_not_allowed" as string | undefined],
    ["https://example.com/a.png", "url_not_allowed", undefined],
    ["HTTPS://EXAMPLE.COM/a.png", "url_not_allowed", undefined],
    ["file:///etc/passwd", "url_not_allowed", "url_not_allowed"],
    ["ftp://host/x", "url_not_allowed", "url_not_allowed"],
    ["//host/x", "url_not_allowed", "url_not_allowed"],
    ["data:image/png;base64,AA==", undefined, undefined],
  ])("picture at %s", (url, closed, open) => {
    expect(refusal(checkMessages(image(url), own))?.[1]).toBe(closed);
    // An operator who allows addresses answers for where they lead.
    expect(refusal(checkMessages(image(url), urls))?.[1]).toBe(url.startsWith("http://169") ? undefined : open);
  });

  test("the path of the picture is told", () => {
    expect(refusal(checkMessages(image("http://x"), own))).toEqual([`${at}.image_url.url`, "url_not_allowed"]);
  });

  test.each([
    [
      "a video's address",
      '{"type":"video_url","video_url":{"url":"http://x/v.mp4"}}',
      [`${at}.video_url.url`, "url_not_allowed"],
    ],
    [
      "an address without an object",
      '{"type":"audio_url","audio_url":"http://x"}',
      [`${at}.audio_url`, "url_not_allowed"],
    ],
    ["embeddings", '{"type":"image_embeds","image_embeds":"AA"}', [`${at}.type`, "invalid_value"]],
    ["a host", '{"type":"thing","deep":[{"base_url":"x"}]}', [`${at}.deep[0].base_url`, "unknown_parameter"]],
    ["no object", "7", [at, "invalid_type"]],
    ["bytes", '{"type":"video_url","video_url":{"url":"data:video/mp4;base64,AA"}}', undefined],
  ])("unknown part: %s", (_name, json, expected) => {
    expect(refusal(checkMessages(unknown(json), own))).toEqual(expected);
  });

  test("extras of a message are held to the same lists", () => {
    const text = { case: "text" as const, value: "x" };
    expect(refusal(checkMessages(withPart(text, '{"a":{"api_key":"x"}}'), own))).toEqual([
      "messages[0].a.api_key",
      "unknown_parameter",
    ]);
    expect(checkMessages(withPart(text, '{"cache_control":{"type":"ephemeral"}}'), own)).toBeUndefined();
  });
});
