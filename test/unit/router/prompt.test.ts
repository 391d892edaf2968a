import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { afterAll, describe, expect, test } from "vitest";
import { ChatTemplateSchema, ControlText } from "../../../gen/ts/weir/catalog/v1/model_pb.ts";
import { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import { GenerateRequestSchema } from "../../../gen/ts/weir/router/v1/inference_service_pb.ts";
import { type MessageSchema, Role, ToolChoiceMode } from "../../../gen/ts/weir/router/v1/message_pb.ts";
import { WeirError } from "../../../services/runtime/errors/fail.ts";
import {
  createPromptRenderer,
  isPending,
  type PendingPrompt,
  type Prompt,
} from "../../../services/router/prompt/chat-template.ts";
import { longestTurn } from "../../fakes/longest-turn.ts";
import { promptBytes } from "../../../services/router/prompt/prompt-bytes.ts";

const renderer = createPromptRenderer();
afterAll(() => renderer[Symbol.asyncDispose]());
let digests = 0;

type MessageInit = MessageInitShape<typeof MessageSchema>;
const said = (role: Role, ...texts: string[]): MessageInit => ({
  role,
  parts: texts.map((value) => ({ part: { case: "text", value } })),
});

function ask(
  source: string,
  messages: readonly MessageInit[],
  over: object = {},
  settings = {},
  policy: ControlText = ControlText.NEUTRALISE,
): () => Prompt | PendingPrompt {
  const template = create(ChatTemplateSchema, {
    source,
    sha256: String(++digests),
    specialTokens: { bos_token: "<s>", eos_token: "</s>" },
    controlTokens: ["<s>", "</s>", "<|im_start|>", "<|im_end|>"],
  });
  const request = create(GenerateRequestSchema, {
    model: "m",
    input: { case: "conversation", value: { messages: [...messages] } },
    ...over,
  });
  return () => renderer.render("p", template, request, settings, policy);
}

/** Of a long conversation. */
async function renderLong(asked: ReturnType<typeof ask>): Promise<Prompt> {
  const pending = asked();
  if (!isPending(pending)) throw new Error("it was taken for short");
  return await pending.prompt;
}

function render(...asked: Parameters<typeof ask>): Prompt {
  const prompt = ask(...asked)();
  if (isPending(prompt)) throw new Error("it was taken for long");
  return prompt;
}

const chatml =
  "{{ bos_token }}{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

describe("a conversation becomes a prompt", () => {
  test("as ChatML, with special tokens, up to where the assistant speaks", () => {
    expect(
      render(chatml, [
        said(Role.SYSTEM, "Be brief."),
        said(Role.USER, "Hi"),
        said(Role.ASSISTANT, "Yo"),
        said(Role.USER, "a", "b"),
      ]),
    ).toBe(
      "<s><|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nYo<|im_end|>\n<|im_start|>user\na\nb<|im_end|>\n<|im_start|>assistant\n",
    );
  });

  const parts = "{% for m in messages %}{{ m.role }}:{{ m.content }};{% endfor %}";
  test("a developer is the system where the template knows no developer", () => {
    expect(render(parts, [said(Role.DEVELOPER, "x")])).toBe("system:x;");
    expect(render(`${parts}{# developer #}`, [said(Role.DEVELOPER, "x")])).toBe("developer:x;");
  });

  test("tool calls have parsed arguments, answers name their call", () => {
    const source =
      "{% for m in messages %}{% if m.tool_calls %}{% for c in m.tool_calls %}{{ c.function.name }}({{ c.function.arguments | tojson }}){% endfor %}{% elif m.role == 'tool' %}[{{ m.tool_call_id }}={{ m.content }}]{% endif %}{% endfor %}";
    const messages = [
      {
        role: Role.ASSISTANT,
        toolCalls: [
          { id: "c1", name: "add", arguments: '{"a":1}' },
          { id: "c2", name: "odd", arguments: "not json" },
        ],
      },
      { ...said(Role.TOOL, "2"), toolCallId: "c1" },
    ];
    expect(render(source, messages)).toBe('add({"a": 1})odd("not json")[c1=2]');
  });

  describe("where the template joins arguments to a text", () => {
    const source =
      "{% for m in messages %}{{ m.content or '' }}{% for c in m.tool_calls or [] %}{{ '<call>' + c['function']['name'] + '\\n' + c['function']['arguments'] + '</call>' }}{% endfor %}{% endfor %}";
    const called = (args: string): MessageInit[] => [
      said(Role.USER, "Go."),
      { role: Role.ASSISTANT, toolCalls: [{ id: "c1", name: "add", arguments: args }] },
      { ...said(Role.TOOL, "2"), toolCallId: "c1" },
    ];

    test.each([
      ['{"a": 1,"b":{"c":[]}}', '{"a": 1,"b":{"c":[]}}'],
      ["{}", "{}"],
      ["not json", "not json"],
      ['{"a":"</s>"}', '{"a":"<\u200b/s>"}'],
      ['{"a":"[object Map]"}', '{"a":"[object Map]"}'],
    ])("they are the text that was written: %s", async (args, told) => {
      const wanted = `Go.<call>add\n${told}</call>2`;
      expect(render(source, called(args))).toBe(wanted);
      const long = [...called(args), ...Array.from({ length: 200 }, () => said(Role.USER, "x"))];
      expect(await renderLong(ask(source, long))).toBe(wanted + "x".repeat(200));
    });

    test("in one branch only, the conversations that do not take it keep the values", () => {
      const branches = `{% if messages[0].content == 'Go.' %}${source}{% else %}{{ messages[1].tool_calls[0].function.arguments | tojson }}{% endif %}`;
      expect(render(branches, called('{"a":1}'))).toBe('Go.<call>add\n{"a":1}</call>2');
      expect(render(branches, [said(Role.USER, "[object Map]"), ...called('{"a":1}').slice(1)])).toBe('{"a": 1}');
    });
  });

  test("values stay values where somebody only speaks of what a template makes of them", () => {
    const source =
      "{% for m in messages %}{{ m.content or '' }}{% for c in m.tool_calls or [] %}{{ c.function.arguments | tojson }}{% endfor %}{% endfor %}";
    const messages = [
      said(Role.USER, "What is [object Map]?"),
      { role: Role.ASSISTANT, toolCalls: [{ id: "c1", name: "find", arguments: '{"q":1}' }] },
    ];
    expect(render(source, messages)).toBe('What is [object Map]?{"q": 1}');
  });

  test("a template that joins only a part of the arguments keeps the values", () => {
    const source =
      "{{ 'x' + messages[0].tool_calls[0].function.arguments.a }}{{ messages[0].tool_calls[0].function.arguments.items() | length }}";
    const messages = [{ role: Role.ASSISTANT, toolCalls: [{ id: "c", name: "f", arguments: '{"a":{}}' }] }];
    expect(render(source, messages)).toBe("x[object Map]1");
  });

  test("tools are offered unless none may be called", () => {
    const source =
      "{% if tools %}{% for t in tools %}{{ t.function.name }}{{ t.function.parameters | tojson }}{% endfor %}{% else %}none{% endif %}";
    const tools = [{ name: "f", parametersJson: '{"type":"object"}' }, { name: "g" }];
    expect(render(source, [said(Role.USER, "x")], { tools })).toBe(
      'f{"type": "object"}g{"type": "object", "properties": {}}',
    );
    expect(render(source, [said(Role.USER, "x")], { tools, toolChoice: { mode: ToolChoiceMode.NONE } })).toBe("none");
    expect(render(source, [said(Role.USER, "x")])).toBe("none");
  });

  test("thoughts, effort and the switches that callers have reach the template", () => {
    const source =
      "{{ messages[0].reasoning_content }}|{{ reasoning_effort }}|{% if enable_thinking %}thinks{% else %}does not{% endif %}";
    const messages = [{ ...said(Role.ASSISTANT, "x"), reasoning: "hm" }];
    expect(render(source, messages, { reasoningEffort: "low" }, { enable_thinking: false })).toBe("hm|low|does not");
  });

  test("no switch replaces the messages, the tools or the special tokens", () => {
    expect(
      render(chatml, [said(Role.USER, "Hi")], {}, { messages: [], bos_token: "x", add_generation_prompt: false }),
    ).toBe("<s><|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
  });

  test("text that looks like a template is text", () => {
    expect(render(parts, [said(Role.USER, "{{ 7*7 }}{% raw %}")])).toBe("user:{{ 7*7 }}{% raw %};");
  });
});

describe("a template that fails", () => {
  test.each([
    ["says why", "{{ raise_exception('roles must alternate') }}", "roles must alternate"],
    ["does not parse", "{% for %}", undefined],
    ["is cut short in its words", `{{ raise_exception('${"x".repeat(900)}') }}`, "x".repeat(200)],
  ])("%s", (_name, source, problem) => {
    const error = render(source, [said(Role.USER, "x")]);
    expect(error).toBeInstanceOf(WeirError);
    expect(error).toMatchObject({
      reason: ErrorReason.CHAT_TEMPLATE_FAILED,
      facts: { model: "m", ...(problem ? { problem } : {}) },
    });
  });
});

describe("a long conversation", () => {
  const turns = (count: number, text: string) =>
    Array.from({ length: count }, (_, index) => said(index % 2 ? Role.ASSISTANT : Role.USER, text));
  const told = (index: number, text: string) => `<|im_start|>${index % 2 ? "assistant" : "user"}\n${text}<|im_end|>\n`;
  const whole = (count: number, text: string) =>
    `<s>${Array.from({ length: count }, (_, index) => told(index, text)).join("")}<|im_start|>assistant\n`;

  test.each([
    ["of 10,000 messages", 10_000, "go on then", "go on then"],
    ["of 1 MB", 500, "y".repeat(2_000), "y".repeat(2_000)],
    ["that spells 100,000 control tokens", 2, "<s>1".repeat(50_000), "<\u200bs>1".repeat(50_000)],
  ])("%s is rendered beside the thread that serves streams", async (_, count, text, neutral) => {
    const asked = ask(chatml, turns(count, text));
    await renderLong(ask(chatml, turns(201, "once, for the thread")));
    const { turnMs, result } = await longestTurn(() => renderLong(asked));
    expect(result).toBe(whole(count, neutral));
    expect(turnMs).toBeLessThan(20);
  });

  test("fails as a short one does", async () => {
    expect(await renderLong(ask("{{ raise_exception('no') }}", turns(201, "x")))).toMatchObject({
      reason: ErrorReason.CHAT_TEMPLATE_FAILED,
    });
    const spelling = [...turns(201, "x"), said(Role.USER, "</s>")];
    const refused = await renderLong(ask(chatml, spelling, {}, {}, ControlText.REJECT));
    expect(refused).toMatchObject({ reason: ErrorReason.INVALID_ARGUMENT, facts: { param: "messages[201]" } });
  });
});

test("the size of a prompt counts all that is text", () => {
  const sized = (over: object) => promptBytes(create(GenerateRequestSchema, { model: "m", ...over }));
  expect(sized({ input: { case: "prompt", value: "é!" } })).toEqual({ bytes: 3, tokens: undefined });
  expect(sized({ input: { case: "tokenIds", value: { ids: [1, 2] } } })).toEqual({ bytes: 0, tokens: 2 });
  const messages = [
    said(Role.USER, "12"),
    { role: Role.ASSISTANT, reasoning: "123", toolCalls: [{ id: "c", name: "f", arguments: "{}" }] },
  ];
  expect(
    sized({ input: { case: "conversation", value: { messages } }, tools: [{ name: "f", description: "d" }] }).bytes,
  ).toBe(12 + 2 + 12 + 3 + 1 + 2 + 1);
});
