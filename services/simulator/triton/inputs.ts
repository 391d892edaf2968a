import type { InferParameter, ModelInferRequest } from "../../../gen/ts/engine/triton/grpc_service_pb.ts";
import type { Model, TensorSpec } from "./models.ts";
import { type Element, type InputTensor, inputTensors } from "./tensors.ts";

/** The inputs of a request that fits its model, by name. */
export class Inputs {
  readonly #tensors: ReadonlyMap<string, InputTensor>;

  constructor(tensors: readonly InputTensor[]) {
    this.#tensors = new Map(tensors.map((tensor) => [tensor.name, tensor]));
  }

  text(name: string): string | undefined {
    const first = this.#first(name);
    return first instanceof Buffer ? first.toString("utf8") : undefined;
  }

  texts(name: string): string[] {
    return (this.#tensors.get(name)?.elements ?? []).map(String);
  }

  /** The elements of each input of a batch. */
  rows(name: string, count: number): readonly Element[][] {
    const elements = this.#tensors.get(name)?.elements ?? [];
    const each = elements.length / Math.max(1, count);
    return Array.from({ length: count }, (_, at) => elements.slice(at * each, (at + 1) * each));
  }

  number(name: string): number | undefined {
    const first = this.#first(name);
    return typeof first === "number" || typeof first === "bigint" ? Number(first) : undefined;
  }

  integer(name: string): bigint | undefined {
    const first = this.#first(name);
    return typeof first === "bigint" ? first : undefined;
  }

  /** Undefined if it is not given. */
  flag(name: string): boolean | undefined {
    const first = this.#first(name);
    return typeof first === "boolean" ? first : undefined;
  }

  #first(name: string): Element | undefined {
    return this.#tensors.get(name)?.elements[0];
  }
}

/** Reads the inputs of a request, or says in the words of Triton's core why they do not fit the model. */
export function inputsFrom(model: Model, request: ModelInferRequest): Inputs | string {
  const reserved = Object.keys(request.parameters).find(
    (name) => name.startsWith("triton_") && name !== "triton_enable_empty_final_response",
  );
  if (reserved !== undefined)
    return `parameter keys starting with 'triton_' are reserved for Triton usage and should not be specified, got '${reserved}'`;
  const missing = missingInputs(model, request);
  if (missing !== undefined) return missing;
  for (const { name, datatype, shape } of request.inputs) {
    const spec = model.inputs.find((input) => input.name === name);
    if (spec === undefined) return `unexpected inference input '${name}' for model '${model.name}'`;
    const misfit = misfitOf(model, spec, datatype, shape.map(Number));
    if (misfit !== undefined) return misfit;
  }
  const tensors = inputTensors(request);
  return typeof tensors === "string" ? tensors : new Inputs(tensors);
}

function missingInputs(model: Model, { inputs }: ModelInferRequest): string | undefined {
  const given = inputs.map((input) => input.name);
  const required = model.inputs.filter((input) => !input.optional).map((input) => input.name);
  const missing = required.filter((name) => !given.includes(name));
  if (missing.length === 0) return undefined;
  const list = (names: readonly string[]) => `[${names.map((name) => `'${name}'`).join(",")}]`;
  return `expected number of inputs between ${required.length} and ${model.inputs.length} but got ${given.length} inputs for model '${model.name}'. Got input(s) ${list(given)}, but missing required input(s) ${list(missing)}. Please provide all required input(s).`;
}

function misfitOf(model: Model, spec: TensorSpec, datatype: string, shape: readonly number[]): string | undefined {
  if (datatype !== spec.datatype)
    return `inference input data-type is '${datatype}', model expects '${spec.datatype}' for '${spec.name}': unexpected datatype`;
  const expected = model.batched ? [-1, ...spec.dims] : spec.dims;
  const fits = shape.length === expected.length && expected.every((dim, at) => dim === -1 || dim === shape[at]);
  if (fits) return undefined;
  const note = model.batched
    ? " NOTE: Setting a non-zero max_batch_size in the model config requires a batch dimension to be prepended to each input shape."
    : "";
  return `unexpected shape for input '${spec.name}' for model '${model.name}'. Expected [${expected.join(",")}], got [${shape.join(",")}].${note}`;
}

/** Whether a request's parameter says yes. */
export function saysYes(parameter: InferParameter | undefined): boolean {
  return parameter?.parameterChoice.case === "boolParam" && parameter.parameterChoice.value;
}
