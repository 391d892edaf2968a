import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { describe, expect, test } from "vitest";
import { ChatTemplateSchema, ModelSchema, TokenizerSchema } from "../../../gen/ts/weir/catalog/v1/model_pb.ts";
import { Feature, ReplicaModelSchema } from "../../../gen/ts/weir/catalog/v1/replica_pb.ts";
import { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import { GenerateRequestSchema } from "../../../gen/ts/weir/router/v1/inference_service_pb.ts";
import {
  ConversationSchema,
  MessageSchema,
  PartSchema,
  Role,
  ToolChoiceMode,
} from "../../../gen/ts/weir/router/v1/message_pb.ts";
import {
  covers,
  featureSet,
  neededBy,
  requiredOf,
  seatFeatures,
  unsupported,
} from "../../../services/router/requirement.ts";

type Request = MessageInitShape<typeof GenerateRequestSchema>;
const prompt: Request = { model: "m", input: { case: "prompt", value: "x" } };
const talk = (...parts: MessageInitShape<typeof PartSchema>["part"][]): Request => {
  const said = { role: Role.USER, parts: parts.map((part) => create(PartSchema, part ? { part } : {})) };
  const messages = [create(MessageSchema, { role: Role.SYSTEM }), create(MessageSchema, said)];
  return { model: "m", input: { case: "conversation", value: create(ConversationSchema, { messages }) } };
};
const text = { case: "text", value: "x" } as const;
const image = { case: "image", value: { url: "data:," } } as const;
const audio = { case: "audio", value: { dataBase64: "AA", format: "wav" } } as const;
const file = { case: "file", value: { fileId: "f" } } as const;
const odd = { case: "unknownJson", value: '{"type":"odd"}' } as const;

const { PROMPT, TOKEN_IDS, CONVERSATION, TOOLS, JSON_OBJECT, LOGPROBS, CHOICES, ECHO, SUFFIX } = Feature;
const { TOOL_CHOICE, IMAGES, AUDIO, LOGIT_BIAS, BEST_OF, STREAM } = Feature;

const forced = { tools: [{ name: "f" }], toolChoice: { mode: ToolChoiceMode.REQUIRED } };

/** A request, the features that are just enough, and the one whose lack is told under the param. */
const rows: readonly [string, Request, readonly Feature[], Feature, string][] = [
  ["a prompt", prompt, [PROMPT], PROMPT, "prompt"],
  ["token ids", { model: "m", input: { case: "tokenIds", value: { ids: [1] } } }, [TOKEN_IDS], TOKEN_IDS, "prompt"],
  ["a conversation", talk(text), [CONVERSATION], CONVERSATION, "messages"],
  ["a picture", talk(text, image), [CONVERSATION, IMAGES], IMAGES, "messages[1].content[1]"],
  ["sound", talk(audio), [CONVERSATION, AUDIO], AUDIO, "messages[1].content[0]"],
  ["several choices", { ...prompt, choices: 2 }, [PROMPT, CHOICES], CHOICES, "n"],
  ["candidates", { ...prompt, bestOf: 2 }, [PROMPT, BEST_OF], BEST_OF, "best_of"],
  ["an echo", { ...prompt, echo: true }, [PROMPT, ECHO], ECHO, "echo"],
  ["a suffix", { ...prompt, suffix: "s" }, [PROMPT, SUFFIX], SUFFIX, "suffix"],
  ["logprobs", { ...prompt, logprobs: { top: 0 } }, [PROMPT, LOGPROBS], LOGPROBS, "logprobs"],
  ["a bias", { ...prompt, sampling: { logitBias: { 5: 1 } } }, [PROMPT, LOGIT_BIAS], LOGIT_BIAS, "logit_bias"],
  ["tools", { ...prompt, tools: [{ name: "f" }] }, [PROMPT, TOOLS], TOOLS, "tools"],
  ["a call on demand", { ...prompt, ...forced }, [PROMPT, TOOLS, TOOL_CHOICE], TOOL_CHOICE, "tool_choice"],
];

describe("what a request needs, and what is told where it is lacking", () => {
  test.each(rows)("%s", (_name, init, enough, lacking, param) => {
    const request = create(GenerateRequestSchema, init);
    const needed = neededBy(request);
    expect(covers(featureSet(enough, false), needed)).toBe(true);
    const others = [STREAM, ...enough.filter((feature) => feature !== lacking)];
    const set = featureSet(others, false);
    expect(covers(set, needed)).toBe(false);
    expect(unsupported(request, needed, [set], "m")).toMatchObject({
      reason: ErrorReason.UNSUPPORTED,
      facts: { param, model: "m" },
    });
  });

  test.each([
    ["n of 1", { ...prompt, choices: 1 }],
    ["best_of no more than n", { ...prompt, bestOf: 1 }],
    ["free text", { ...prompt, responseFormat: { form: { case: "text", value: {} } } }],
    ["tools that may not be called", { ...prompt, tools: [{ name: "f" }], toolChoice: { mode: ToolChoiceMode.NONE } }],
    ["an empty bias", { ...prompt, sampling: { logitBias: {} } }],
  ] satisfies readonly (readonly [string, Request])[])("%s needs nothing", (_name, init) => {
    expect(covers(featureSet([PROMPT], false), neededBy(create(GenerateRequestSchema, init)))).toBe(true);
  });
});

describe("a form that the gateway can check", () => {
  const object = { responseFormat: { form: { case: "jsonObject", value: {} } } } as const;
  const asked = neededBy(create(GenerateRequestSchema, { ...prompt, ...object }));
  const seats = (...sets: (readonly Feature[])[]) => sets.map((set) => ({ features: featureSet(set, false) }));

  test("is asked of engines where one has it, and of no engine where none has", () => {
    expect(requiredOf(asked, seats([PROMPT], [PROMPT, JSON_OBJECT]))).toBe(asked);
    expect(requiredOf(asked, seats([PROMPT], [STREAM, JSON_OBJECT]))).toBe(featureSet([PROMPT], false));
    expect(requiredOf(asked, [])).toBe(featureSet([PROMPT], false));
  });

  test("is never what is lacking", () => {
    const request = create(GenerateRequestSchema, { ...prompt, ...object, logprobs: { top: 0 } });
    const { facts } = unsupported(request, neededBy(request), [featureSet([PROMPT], false)], "m");
    expect(facts).toMatchObject({ param: "logprobs" });
  });
});

describe("conversations and engines that take text", () => {
  const chat = create(GenerateRequestSchema, talk(text));
  test("a template makes the difference", () => {
    expect(covers(featureSet([PROMPT], true), neededBy(chat))).toBe(true);
    expect(covers(featureSet([PROMPT], false), neededBy(chat))).toBe(false);
    expect(unsupported(chat, neededBy(chat), [featureSet([PROMPT], false)], "m").reason).toBe(
      ErrorReason.CHAT_TEMPLATE_MISSING,
    );
    expect(unsupported(chat, neededBy(chat), [featureSet([TOKEN_IDS], true)], "m").reason).toBe(
      ErrorReason.UNSUPPORTED,
    );
  });

  test.each([
    ["a picture", image],
    ["a document", file],
    ["an unknown part", odd],
  ])("but %s cannot be rendered", (_name, part) => {
    const request = create(GenerateRequestSchema, talk(text, part));
    const set = featureSet([PROMPT, IMAGES], true);
    expect(covers(set, neededBy(request))).toBe(false);
    expect(unsupported(request, neededBy(request), [set], "m").facts["param"]).toBe("messages[1].content[1]");
  });

  test("an engine of token ids takes texts where the model has a tokenizer, and nothing where it has none", () => {
    const served = create(ReplicaModelSchema, { features: [TOKEN_IDS], needsTokenizer: true });
    const tokenizer = create(TokenizerSchema);
    const chatTemplate = create(ChatTemplateSchema);
    const whole = seatFeatures(served, create(ModelSchema, { tokenizer, chatTemplate }));
    expect(covers(whole, neededBy(chat))).toBe(true);
    expect(covers(whole, neededBy(create(GenerateRequestSchema, prompt)))).toBe(true);
    const bare = seatFeatures(served, create(ModelSchema, { tokenizer }));
    expect(unsupported(chat, neededBy(chat), [bare], "m").reason).toBe(ErrorReason.CHAT_TEMPLATE_MISSING);
    const none = seatFeatures(served, create(ModelSchema, { chatTemplate }));
    expect(unsupported(chat, neededBy(chat), [none], "m").reason).toBe(ErrorReason.TOKENIZER_MISSING);
  });

  test("where each feature is somewhere and all are nowhere, one that the first lacks is named", () => {
    const request = create(GenerateRequestSchema, { ...prompt, echo: true, logprobs: { top: 1 } });
    const sets = [featureSet([PROMPT, LOGPROBS], false), featureSet([PROMPT, ECHO], false)];
    expect(unsupported(request, neededBy(request), sets, "m").facts["param"]).toBe("echo");
  });
});
