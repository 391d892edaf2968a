import type { MessageInitShape } from "@bufbuild/protobuf";
import { status } from "@grpc/grpc-js";
import type {
  ModelInferRequest,
  ModelInferResponseSchema,
  ModelStreamInferResponseSchema,
} from "../../../gen/ts/engine/triton/grpc_service_pb.ts";
import type { Refusal } from "../grpc/server.ts";
import { saysYes } from "./inputs.ts";
import type { Model } from "./models.ts";
import type { OutputTensor } from "./tensors.ts";

export type InferResponse = MessageInitShape<typeof ModelInferResponseSchema>;
export type StreamResponse = MessageInitShape<typeof ModelStreamInferResponseSchema>;

/** The call that a request came on. */
export interface Caller {
  /** Whether responses say which is the last. */
  readonly streams: boolean;
  send(message: StreamResponse): void;
  /** The request failed in the model: it is told by the message, or by the call's status if the caller wants that. */
  fail(message: StreamResponse, refusal: Refusal): void;
  /** Nothing more comes for this request. */
  over(): void;
  /** Resets the connection. */
  cut(): void;
  crash(): void;
}

/** A request that its model has. */
export interface Inference {
  /** The caller's call is gone. What the model makes of that is its own affair. */
  callerLeft(): void;
}

/** What a model says to one request, in messages as Triton makes them. */
export class Reply {
  readonly #caller: Caller;
  readonly #model: Model;
  readonly #id: string;
  readonly #wanted: ReadonlySet<string>;
  readonly #emptyFinal: boolean;

  constructor(caller: Caller, model: Model, request: ModelInferRequest) {
    this.#caller = caller;
    this.#model = model;
    this.#id = request.id;
    this.#wanted = new Set(request.outputs.map((output) => output.name));
    this.#emptyFinal = saysYes(request.parameters["triton_enable_empty_final_response"]);
  }

  /** A response with outputs; those that the caller did not list are left out, if it listed any. */
  data(outputs: readonly OutputTensor[], final: boolean): void {
    const wanted = outputs.filter(({ head }) => this.#wanted.size === 0 || this.#wanted.has(head.name ?? ""));
    this.#caller.send({ inferResponse: this.#response(wanted, final) });
  }

  /** The end of a request whose last response did not say so: it is sent only to those who asked for it. */
  emptyFinal(): void {
    if (this.#emptyFinal) this.#caller.send({ inferResponse: this.#response([], true) });
  }

  /** An error of the model, which may be its last response or not. */
  error(text: string, final: boolean, outputs: readonly OutputTensor[] = []): void {
    const message = { errorMessage: text, inferResponse: this.#response(outputs, final) };
    this.#caller.fail(message, { code: status.INTERNAL, text });
  }

  over(): void {
    this.#caller.over();
  }

  cut(): void {
    this.#caller.cut();
  }

  crash(): void {
    this.#caller.crash();
  }

  #response(outputs: readonly OutputTensor[], final: boolean): InferResponse {
    const ensemble: InferResponse["parameters"] = {
      sequence_id: { parameterChoice: { case: "int64Param", value: 0n } },
      sequence_start: { parameterChoice: { case: "boolParam", value: false } },
      sequence_end: { parameterChoice: { case: "boolParam", value: false } },
    };
    return {
      modelName: this.#model.name,
      modelVersion: "1",
      id: this.#id,
      parameters: {
        ...(this.#model.flavour === "ensemble" ? ensemble : {}),
        ...(this.#caller.streams
          ? { triton_final_response: { parameterChoice: { case: "boolParam" as const, value: final } } }
          : {}),
      },
      outputs: outputs.map(({ head }) => head),
      rawOutputContents: outputs.map(({ raw }) => raw),
    };
  }
}

/** Triton's core says first which request an error is about. */
export function prefixed(id: string, text: string): string {
  return `[request id: ${id === "" ? "<id_unknown>" : id}] ${text}`;
}
