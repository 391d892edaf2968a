import type { MessageInitShape } from "@bufbuild/protobuf";
import type { ModelInferRequestSchema } from "../../../gen/ts/engine/triton/grpc_service_pb.ts";
import type { TritonInterface } from "./flavour.ts";
import { encodeTensor, isWritable, type Scalar } from "./tensors.ts";

export type InferRequest = MessageInitShape<typeof ModelInferRequestSchema>;

interface Head {
  readonly name: string;
  readonly datatype: string;
  readonly shape: bigint[];
}

/** The inputs of one request, in the shapes and datatypes that the model declares. */
export class Inputs {
  readonly #model: Pick<TritonInterface, "inputs" | "batched">;
  readonly #heads: Head[] = [];
  readonly #raw: Uint8Array[] = [];

  constructor(model: Pick<TritonInterface, "inputs" | "batched">) {
    this.#model = model;
  }

  /** Adds an input. False if the model has none of that name. */
  add(name: string, ...values: readonly Scalar[]): boolean {
    const datatype = this.#model.inputs[name];
    if (datatype === undefined || !isWritable(datatype)) return false;
    const count = BigInt(values.length);
    this.#heads.push({ name, datatype, shape: this.#model.batched ? [1n, count] : [count] });
    this.#raw.push(encodeTensor(datatype, values));
    return true;
  }

  /** Adds an input of token ids, in one row or in some of the same length. False if the model has none of that name. */
  addIds(name: string, ids: ArrayLike<number>, rows = 1): boolean {
    const datatype = this.#model.inputs[name];
    if (datatype !== "INT32") return false;
    const row = BigInt(ids.length / rows);
    const shape = rows === 1 ? [row] : [BigInt(rows), row];
    this.#heads.push({ name, datatype, shape: this.#model.batched ? [1n, ...shape] : shape });
    // Element by element a long prompt would take milliseconds.
    this.#raw.push(new Uint8Array(Int32Array.from(ids).buffer));
    return true;
  }

  /** The request that carries them. */
  request(modelName: string, id: string): InferRequest {
    return {
      modelName,
      id,
      inputs: this.#heads,
      rawInputContents: this.#raw,
      // Many models end with a response that has nothing but the flag, which is not sent unasked.
      parameters: { triton_enable_empty_final_response: { parameterChoice: { case: "boolParam", value: true } } },
    };
  }
}
