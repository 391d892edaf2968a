import { type Case, type Row, rowFrom } from "./edge-row.ts";

/** Completion requests that are refused before any engine is asked, each with what it gets. */

const completion = (members: object) => ({ model: "weir-sim", prompt: "p", ...members });
const range = (count: number) => Array.from({ length: count }, (_, i) => i);

const completionCases: readonly Case[] = [
  ["no prompt", { model: "weir-sim" }, "missing_required_parameter", "prompt"],
  ["prompt null", completion({ prompt: null }), "missing_required_parameter", "prompt"],
  ["prompt a number", completion({ prompt: 1 }), "invalid_type", "prompt"],
  ['C36 prompt ""', completion({ prompt: "" }), "string_below_min_length", "prompt"],
  ['C36 prompt ["a", ""]', completion({ prompt: ["a", ""] }), "string_below_min_length", "prompt[1]"],
  ["C36 prompt []", completion({ prompt: [] }), "array_below_min_length", "prompt"],
  ["C36 2,049 prompts", completion({ prompt: range(2_049).map(() => "p") }), "array_above_max_length", "prompt"],
  ["C36 texts and ids mixed", completion({ prompt: ["a", [1]] }), "invalid_type", "prompt[1]"],
  ["C36 ids and texts mixed", completion({ prompt: [1, "a"] }), "invalid_type", "prompt"],
  ["C35 a token id of -1", completion({ prompt: [-1] }), "invalid_token_id", "prompt"],
  ["C35 a token id of 1.5", completion({ prompt: [[1, 1.5]] }), "invalid_token_id", "prompt[0]"],
  ["C35 a token id of 2^31", completion({ prompt: [2 ** 31] }), "invalid_token_id", "prompt"],
  ["C11 best_of below n", completion({ best_of: 1, n: 2 }), "invalid_value", "best_of"],
  ["C11 best_of 1e6", completion({ best_of: 1e6 }), "integer_above_max_value", "best_of"],
  ["C11 best_of of a stream", completion({ best_of: 2, stream: true }), "invalid_value", "best_of"],
  ["C19 logprobs 6", completion({ logprobs: 6 }), "integer_above_max_value", "logprobs"],
  ["C8 max_tokens 0", completion({ max_tokens: 0 }), "integer_below_min_value", "max_tokens"],
  ["C37 echo yes", completion({ echo: "yes" }), "invalid_type", "echo"],
  ["C37 suffix 1", completion({ suffix: 1 }), "invalid_type", "suffix"],
];

export const completionRows: readonly Row[] = completionCases.map(rowFrom("/v1/completions"));
