import type { Attempt } from "../driver.ts";
import { type Guide, guideFromExtras, patternOf } from "../guide.ts";
import type { Inputs } from "./inputs.ts";

/**
 * Adds the form of the answer as TensorRT-LLM has it, the request's own or that of `structured_outputs`. Returns the extras
 * that are left: all, where the model has no inputs for a form.
 */
export function addGuide(inputs: Inputs, { request, extras }: Pick<Attempt, "request" | "extras">): Attempt["extras"] {
  const { guide, ignored } = guideFromExtras(request.responseFormat, extras);
  if (!guide) return extras;
  const [type, text] = guideInput(guide);
  if (!inputs.add("guided_decoding_guide_type", type)) return extras;
  if (text !== undefined) inputs.add("guided_decoding_guide", text);
  const { structured_outputs: given, ...rest } = extras;
  return given === undefined || ignored.includes("structured_outputs") ? extras : rest;
}

function guideInput(guide: Guide): readonly [type: string, text?: string] {
  switch (guide.kind) {
    case "object":
      return ["json"];
    case "json":
      return ["json_schema", guide.schema];
    case "choice":
      return ["regex", patternOf(guide.choices)];
    case "regex":
      return ["regex", guide.pattern];
    case "grammar":
      return ["ebnf_grammar", guide.grammar];
  }
}
