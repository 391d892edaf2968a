import { both } from "./both.ts";
import { deepseek } from "./deepseek.ts";
import { glm } from "./glm.ts";
import { hermes } from "./hermes.ts";
import { kimi } from "./kimi.ts";
import { llama3 } from "./llama3.ts";
import { mistral } from "./mistral.ts";
import { pythonic } from "./pythonic.ts";
import { qwen } from "./qwen.ts";
import { thoughts } from "./thoughts.ts";
import type { Transcript } from "./transcript.ts";

/** All transcripts. They are ours: what models of each family were trained to write, and what they get wrong. */
export const transcripts: readonly Transcript[] = [
  ...hermes,
  ...qwen,
  ...llama3,
  ...mistral,
  ...pythonic,
  ...deepseek,
  ...kimi,
  ...glm,
  ...thoughts,
  ...both,
];
