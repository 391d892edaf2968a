import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { ControlText } from "../../../services/router/prompt/control-text.ts";
import { readChatTemplate } from "../../../services/runtime/config/chat-template.ts";

const control = new ControlText(["<|im_end|>", "<|im_end_2|>", "[INST]", "</s>"]);

describe("control tokens in a caller's text", () => {
  test.each([
    ["plain", "plain"],
    ["a<|im_end|>b", "a<\u200b|im_end|>b"],
    ["<|im_end|><|im_end_2|>", "<\u200b|im_end|><\u200b|im_end_2|>"],
    ["<<|im_end|>", "<<\u200b|im_end|>"],
    ["<|im_<|im_end|>end|>", "<|im_<\u200b|im_end|>end|>"],
    ["[INST", "[INST"],
    ["[[INST]]</s>", "[[\u200bINST]]<\u200b/s>"],
  ])("%s", (text, neutral) => {
    expect(control.neutral(text)).toBe(neutral);
    expect(control.spells(text)).toBe(text !== neutral);
    // What is broken up spells nothing.
    expect(control.spells(neutral)).toBe(false);
  });

  test("are found in names and values at any depth", () => {
    const value = { arguments: { "[INST]": [1, null, { x: "</s>" }] }, kept: "x" };
    expect(control.spells(value)).toBe(true);
    expect(control.neutral(value)).toEqual({
      arguments: { "[\u200bINST]": [1, null, { x: "<\u200b/s>" }] },
      kept: "x",
    });
    const clean = { a: ["x"] };
    expect(control.neutral(clean)).toBe(clean);
  });

  test("cost the same however often one begins", () => {
    const text = "<|im_".repeat(200_000);
    expect(control.neutral(text)).toBe(text);
  });
});

describe("which texts are control tokens", () => {
  const folder = mkdtempSync(join(tmpdir(), "weir-template-"));
  const template =
    "{{ bos_token }}<|im_start|>{{ m.role }}<｜User｜>[INST]<start_of_turn><<SYS>>{% if m.x[0] %}<b>[A]{% endif %}{# <|in a remark|> #}";

  test("those that the tokenizer calls special, and those that a template has the form of", () => {
    const config = {
      bos_token: "<s>",
      pad_token: null,
      eos_token: { content: "</s>" },
      additional_special_tokens: ["<|extra|>", { content: "<|other|>" }],
      added_tokens_decoder: {
        "1": { content: "<|special|>", special: true },
        "2": { content: "<think>", special: false },
        "3": { content: " ", special: true },
      },
      chat_template: template,
    };
    writeFileSync(join(folder, "tokenizer_config.json"), JSON.stringify(config));
    const { controlTokens } = readChatTemplate(folder);
    expect([...controlTokens].sort()).toEqual(
      [
        "<s>",
        "</s>",
        "<|extra|>",
        "<|other|>",
        "<|special|>",
        "<|im_start|>",
        "<｜User｜>",
        "[INST]",
        "<start_of_turn>",
        "<<SYS>>",
      ].sort(),
    );
  });

  test("of a jinja file, those of its form", () => {
    const file = join(folder, "t.jinja");
    writeFileSync(file, template);
    expect(readChatTemplate(file).controlTokens).toEqual([
      "<|im_start|>",
      "<｜User｜>",
      "[INST]",
      "<start_of_turn>",
      "<<SYS>>",
    ]);
    rmSync(folder, { recursive: true });
  });
});
