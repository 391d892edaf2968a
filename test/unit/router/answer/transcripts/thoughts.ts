import { ReasoningParser } from "../../../../../gen/ts/weir/catalog/v1/model_pb.ts";
import type { Transcript } from "./transcript.ts";

/** Answers with thought. */
export const thoughts: readonly Transcript[] = [
  {
    name: "R1 with its tag",
    thinks: ReasoningParser.DEEPSEEK_R1,
    written: "<think>\nHm.\n</think>\n\nYes.",
    thought: "Hm.",
    text: "Yes.",
  },
  {
    name: "R1 without its tag",
    thinks: ReasoningParser.DEEPSEEK_R1,
    written: "Hm.\n</think>\n\nYes.",
    thought: "Hm.",
    text: "Yes.",
  },
  {
    name: "R1 told not to think",
    thinks: ReasoningParser.DEEPSEEK_R1,
    prompt: "<｜Assistant｜></think>",
    written: "Yes.",
    text: "Yes.",
  },
  { name: "R1 that only thinks", thinks: ReasoningParser.DEEPSEEK_R1, written: "Hm, ", cut: true, thought: "Hm, " },
  { name: "half a marker is thought", thinks: ReasoningParser.DEEPSEEK_R1, written: "Hm </thi", thought: "Hm </thi" },
  {
    name: "Qwen with its tag",
    thinks: ReasoningParser.QWEN3,
    written: "<think>\nHm – 水.\n</think>\n\nYes.",
    thought: "Hm – 水.",
    text: "Yes.",
  },
  {
    name: "Qwen whose prompt began it",
    thinks: ReasoningParser.QWEN3,
    prompt: "<|im_start|>assistant\n<think>\n",
    written: "Hm.\n</think>\n\nYes.",
    thought: "Hm.",
    text: "Yes.",
  },
  {
    name: "Qwen that does not think",
    thinks: ReasoningParser.QWEN3,
    written: "Yes, </think> is a tag.",
    text: "Yes, </think> is a tag.",
  },
  {
    name: "Qwen with an empty thought",
    thinks: ReasoningParser.QWEN3,
    written: "<think>\n\n</think>\n\nYes.",
    text: "Yes.",
  },
  {
    name: "a tag later on is text",
    thinks: ReasoningParser.QWEN3,
    written: "Use <think> so.",
    text: "Use <think> so.",
  },
  { name: "half the opening tag is text", thinks: ReasoningParser.QWEN3, written: "<thin", text: "<thin" },
  { name: "Mistral", thinks: ReasoningParser.MISTRAL, written: "[THINK]Hm.[/THINK]Yes.", thought: "Hm.", text: "Yes." },
  {
    name: "Granite",
    thinks: ReasoningParser.GRANITE,
    written: "Here is my thought process: Hm.\n\nHere is my response: Yes.",
    thought: "Hm.",
    text: "Yes.",
  },
  {
    name: "Kimi, older",
    thinks: ReasoningParser.KIMI,
    written: "◁think▷Hm.◁/think▷Yes.",
    thought: "Hm.",
    text: "Yes.",
  },
  {
    name: "GLM told not to think",
    thinks: ReasoningParser.GLM,
    prompt: "<|assistant|>\n<think></think>",
    written: "\nYes.",
    text: "\nYes.",
  },
];
