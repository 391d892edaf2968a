import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { type ReplicaModel, ReplicaModelSchema } from "../../gen/ts/weir/catalog/v1/replica_pb.ts";
import { ErrorReason } from "../../gen/ts/weir/error/v1/error_pb.ts";
import {
  CountTokensRequestSchema,
  EmbedRequestSchema,
  RerankRequestSchema,
} from "../../gen/ts/weir/router/v1/inference_service_pb.ts";
import type { CountAttempt, UnaryAttempt } from "../../services/drivers/unary.ts";
import { WeirError } from "../../services/runtime/errors/fail.ts";
import { systemIds } from "../../services/runtime/ids.ts";

/** A signal that nothing aborts. */
export const calm = new AbortController().signal;

const nobody = create(ReplicaModelSchema, { engineModel: "fake" });
const about = (model: ReplicaModel) => ({ id: systemIds.uuidv7(), model, extras: {} });

/** A try to embed texts, or lists of token ids. */
export function embedAttempt(
  inputs: readonly (string | readonly number[])[],
  { model = nobody, dimensions }: { model?: ReplicaModel; dimensions?: number } = {},
): UnaryAttempt<ReturnType<typeof embedRequest>> {
  return { ...about(model), request: embedRequest(inputs, dimensions) };
}

function embedRequest(inputs: readonly (string | readonly number[])[], dimensions: number | undefined) {
  return create(EmbedRequestSchema, {
    model: "caller-model",
    inputs: inputs.map((one) => ({
      input:
        typeof one === "string"
          ? { case: "text" as const, value: one }
          : { case: "tokenIds" as const, value: { ids: [...one] } },
    })),
    ...(dimensions === undefined ? {} : { dimensions }),
  });
}

/** A try to rank documents. */
export function rerankAttempt(query: string, documents: readonly string[], model = nobody) {
  const request = create(RerankRequestSchema, { model: "caller-model", query, documents: [...documents] });
  return { ...about(model), request };
}

/** A try to count a prompt. */
export function countAttempt(
  input: NonNullable<MessageInitShape<typeof CountTokensRequestSchema>["input"]>,
  model = nobody,
  prompt?: string,
  tools: NonNullable<MessageInitShape<typeof CountTokensRequestSchema>["tools"]> = [],
): CountAttempt {
  return {
    ...about(model),
    request: create(CountTokensRequestSchema, { model: "caller-model", input, tools }),
    prompt,
  };
}

/** The reason that a try fails for, and the engine's problem; "none" if it does not. */
export async function failureOf(asked: Promise<unknown> | undefined): Promise<{ reason: string; problem: string }> {
  try {
    await asked;
  } catch (thrown) {
    if (!(thrown instanceof WeirError)) throw thrown;
    const [reason = ""] = Object.entries(ErrorReason).find(([, value]) => value === thrown.reason) ?? [];
    return { reason, problem: thrown.facts["problem"] ?? "" };
  }
  return { reason: "none", problem: "" };
}

/** A vector's numbers. */
export function numbersOf(vector: Uint8Array | undefined): number[] {
  return vector === undefined ? [] : [...new Float32Array(new Uint8Array(vector).buffer)];
}
