import { ReasoningParser, ToolParser } from "../../../gen/ts/weir/catalog/v1/model_pb.ts";
import type { CallFormat } from "./call-writer.ts";
import { deepseek } from "./deepseek.ts";
import { glm } from "./glm.ts";
import { hermes } from "./hermes.ts";
import { kimi } from "./kimi.ts";
import { llama3 } from "./llama3.ts";
import { mistral } from "./mistral.ts";
import { pythonic } from "./pythonic.ts";
import { qwen } from "./qwen.ts";
import type { ThoughtFormat } from "./thought.ts";

/** How the models of a family write calls; undefined: they call nothing. */
export function callFormat(parser: ToolParser): CallFormat | undefined {
  return callFormats[parser];
}

/** How the models of a family mark what they think; undefined: they do not. */
export function thoughtFormat(parser: ReasoningParser): ThoughtFormat | undefined {
  return thoughtFormats[parser];
}

const callFormats: Record<ToolParser, CallFormat | undefined> = {
  [ToolParser.UNSPECIFIED]: undefined,
  [ToolParser.HERMES]: hermes,
  [ToolParser.QWEN]: qwen,
  [ToolParser.LLAMA3]: llama3,
  [ToolParser.MISTRAL]: mistral,
  [ToolParser.PYTHONIC]: pythonic,
  [ToolParser.DEEPSEEK]: deepseek,
  [ToolParser.KIMI]: kimi,
  [ToolParser.GLM]: glm,
};

const tags: ThoughtFormat = { opens: ["<think>"], closes: ["</think>"], implied: false };

const thoughtFormats: Record<ReasoningParser, ThoughtFormat | undefined> = {
  [ReasoningParser.UNSPECIFIED]: undefined,
  [ReasoningParser.DEEPSEEK_R1]: { ...tags, implied: true },
  [ReasoningParser.QWEN3]: tags,
  [ReasoningParser.MISTRAL]: { opens: ["[THINK]"], closes: ["[/THINK]"], implied: false },
  [ReasoningParser.GRANITE]: {
    opens: ["Here is my thought process:", "Here's my thought process:"],
    closes: ["Here is my response:", "Here's my response:"],
    implied: false,
  },
  [ReasoningParser.KIMI]: { opens: ["<think>", "◁think▷"], closes: ["</think>", "◁/think▷"], implied: false },
  [ReasoningParser.GLM]: tags,
};
