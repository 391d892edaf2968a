import type { EmbedInput, EmbedRequest } from "../../../gen/ts/weir/router/v1/inference_service_pb.ts";
import type { Target } from "../driver.ts";
import { embedInBatches } from "../embed-batches.ts";
import { isObject } from "../http/json.ts";
import { BadAnswer, type Embedded, type UnaryAttempt, vectorFrom } from "../unary.ts";
import { promptTokensOf } from "./usage.ts";

/** Characters of vectors in one answer: those of two are read in some 8 ms, and no stream waits longer. */
const answerLength = 1024 * 1024;
/** Inputs of a batch while nobody knows how long the model's vectors are: as numbers, the longest are some 80,000 characters. */
const firstInputs = 32;
/** Two keep an engine busy, and what both answer in one turn is read in time. */
const atOnceMax = 2;
/** Of a number of single precision in JSON, with its comma, at the most. */
const numberLength = 24;

/** Sends a body, and gives its answer. */
export type AskEmbeddings = (
  body: Readonly<Record<string, unknown>>,
  requestId: string,
  signal: AbortSignal,
) => Promise<unknown>;

/**
 * Embeds the inputs, as many at once as have a short answer: 2,048 vectors of 3,072 dimensions in one are longer than is
 * taken from an engine, and to read them in one go holds up every stream.
 */
export async function embedAtOpenAi(
  ask: AskEmbeddings,
  target: Target,
  attempt: UnaryAttempt<EmbedRequest>,
  signal: AbortSignal,
): Promise<Embedded> {
  /** Characters of a vector, once one has come. */
  let vectorLength: number | undefined;
  const size = () =>
    vectorLength === undefined
      ? firstInputs
      : Math.max(1, Math.floor(Math.min(answerLength, target.receiveBytesMax / 2) / vectorLength));
  return await embedInBatches(attempt.request, target, { size, atOnceMax }, signal, async (inputs, suffix, ends) => {
    const answer = await ask(embedBody(attempt, inputs), attempt.id + suffix, ends);
    const raw = rawVectors(answer);
    vectorLength ??= lengthOf(raw[0]);
    return { vectors: raw.map(vectorFrom), tokens: promptTokensOf(answer) };
  });
}

function embedBody({ request, model, extras }: UnaryAttempt<EmbedRequest>, inputs: readonly EmbedInput[]) {
  const { dimensions } = request;
  const body = {
    // The caller's own members replace none of ours.
    ...extras,
    model: model.engineModel,
    input: inputs.map(inputOf),
    // A third of the size of numbers as text, and exact. Servers that know no other send numbers all the same.
    encoding_format: "base64",
  };
  return dimensions === undefined ? body : { ...body, dimensions };
}

function inputOf({ input }: EmbedInput): string | readonly number[] {
  return input.case === "tokenIds" ? input.value.ids : (input.value ?? "");
}

/** In any order, as long as each says where it belongs; servers that do not say keep the order. */
function rawVectors(answer: unknown): unknown[] {
  const data = isObject(answer) ? answer["data"] : undefined;
  if (!Array.isArray(data)) throw new BadAnswer("an answer without embeddings");
  const vectors: unknown[] = [];
  const placed = new Set<number>();
  for (const [at, one] of data.entries()) {
    if (!isObject(one)) throw new BadAnswer("an embedding that is no JSON object");
    const index = one["index"] ?? at;
    if (typeof index !== "number" || !Number.isInteger(index) || index < 0 || index >= data.length)
      throw new BadAnswer("an embedding of an input that was not sent");
    if (placed.has(index)) throw new BadAnswer("two embeddings of one input");
    placed.add(index);
    vectors[index] = one["embedding"];
  }
  return vectors;
}

function lengthOf(raw: unknown): number | undefined {
  if (typeof raw === "string") return raw.length || undefined;
  return Array.isArray(raw) ? raw.length * numberLength || undefined : undefined;
}
