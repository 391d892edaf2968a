import type { ModelConfig } from "../../../gen/ts/engine/triton/model_config_pb.ts";

/** The inputs that hold an answer to a form. */
export const guideInputs = ["guided_decoding_guide_type", "guided_decoding_guide"] as const;

/** TensorRT-LLM's C++ backend. It does not read a tokenizer itself. */
const cppBackend = "tensorrtllm";

/**
 * Whether the engine behind a core model has a grammar. The model declares the inputs for one in any case, and fails every
 * request that fills them where none was set up: with a backend for it, and for the C++ backend a file about the tokenizer.
 */
export function hasGrammar({ backend, parameters }: Pick<ModelConfig, "backend" | "parameters">): boolean {
  const isSet = (name: string) => parameterOf(parameters, name) !== "";
  return isSet("guided_decoding_backend") && (backend !== cppBackend || isSet("xgrammar_tokenizer_info_path"));
}

/** A parameter's text; empty if it is not set, or was left as it is in the template, such as `${tokenizer_dir}`. */
export function parameterOf(parameters: ModelConfig["parameters"], name: string): string {
  const value = parameters[name]?.stringValue ?? "";
  return value.startsWith("${") ? "" : value;
}

/** A model's inputs as far as they do something: those for a form only with a grammar. */
export function usableInputs(
  inputs: readonly { readonly name: string; readonly datatype: string }[],
  grammar: boolean,
): Record<string, string> {
  const usable = inputs.filter(({ name }) => grammar || !guideInputs.some((guide) => guide === name));
  return Object.fromEntries(usable.map(({ name, datatype }) => [name, datatype]));
}
