import type { ReplicaModel } from "../../gen/ts/weir/catalog/v1/replica_pb.ts";
import type {
  CountTokensRequest,
  EmbedRequest,
  RerankRequest,
} from "../../gen/ts/weir/router/v1/inference_service_pb.ts";
import { isCount } from "./counts.ts";
import type { Target } from "./driver.ts";
import { scrubbed } from "./engine-text.ts";
import { engineError, type Failure, protocol } from "./failure.ts";

/** One try of a request that has one answer, at one replica. */
export interface UnaryAttempt<Q> {
  /** Our id of this try, unique for ever: the engine's request id. */
  readonly id: string;
  /** What is asked. `model` is the caller's name: send `model.engineModel` to the engine. */
  readonly request: Q;
  /** The model at this replica, as the driver's own probe described it. */
  readonly model: ReplicaModel;
  /** Members of the engine's request that the contract has no field for, which may be passed on. */
  readonly extras: Readonly<Record<string, unknown>>;
}

/** To count a prompt. */
export interface CountAttempt extends UnaryAttempt<CountTokensRequest> {
  /** The conversation as text, for models without FEATURE_COUNT_CONVERSATION; else undefined. */
  readonly prompt: string | undefined;
}

/** What an engine made of the inputs. */
export interface Embedded {
  /** In the order of the inputs, as the contract has them: numbers of single precision, little-endian, all finite. */
  readonly vectors: readonly Uint8Array<ArrayBuffer>[];
  /** Of all inputs; undefined: the engine does not say. */
  readonly tokens: number | undefined;
}

/** How relevant an engine finds the documents. */
export interface Ranked {
  /** In the order of the documents, all finite. */
  readonly scores: readonly number[];
  /** Of query and documents; undefined: the engine does not say. */
  readonly tokens: number | undefined;
}

/**
 * What a driver does beside generating, where its engine has it. Each rejects with a WeirError: with the signal's reason
 * after an abort, which reaches the engine at once; else as `generate` fails.
 */
export interface UnaryDriver {
  readonly embed?: (attempt: UnaryAttempt<EmbedRequest>, signal: AbortSignal) => Promise<Embedded>;
  readonly rerank?: (attempt: UnaryAttempt<RerankRequest>, signal: AbortSignal) => Promise<Ranked>;
  /** The tokens of the prompt. */
  readonly countTokens?: (attempt: CountAttempt, signal: AbortSignal) => Promise<number>;
}

/** An answer that breaks the engine's protocol. */
export class BadAnswer extends Error {
  readonly failure: Failure;

  constructor(problem: string) {
    super(problem);
    this.failure = protocol(scrubbed(problem));
  }
}

/** Runs a try; what breaks the protocol in its answer becomes the engine's error. */
export async function judged<Q extends { readonly model: string }, A>(
  { request }: UnaryAttempt<Q>,
  target: Target,
  run: () => Promise<A>,
): Promise<A> {
  try {
    return await run();
  } catch (thrown) {
    if (!(thrown instanceof BadAnswer)) throw thrown;
    throw engineError(thrown.failure, request.model, target.engineKey, thrown);
  }
}

const bytesPerValue = 4;

/**
 * A vector as an engine sent it, in the contract's form.
 * @throws BadAnswer for what is none.
 */
export function vectorFrom(raw: unknown): Uint8Array<ArrayBuffer> {
  if (typeof raw === "string") return vectorFromBase64(raw);
  if (!Array.isArray(raw) && !(raw instanceof Float32Array)) throw new BadAnswer("an embedding that is no vector");
  if (Array.isArray(raw) && !raw.every((value) => typeof value === "number"))
    throw new BadAnswer("an embedding with values that are no numbers");
  return new Uint8Array(Float32Array.from(raw).buffer);
}

function vectorFromBase64(text: string): Uint8Array<ArrayBuffer> {
  const bytes = Buffer.from(text, "base64");
  // What is no base64 is skipped there, and makes it shorter.
  if (bytes.length === 0 || bytes.length % bytesPerValue !== 0 || bytes.length !== Buffer.byteLength(text, "base64"))
    throw new BadAnswer("an embedding that is no vector in base64");
  // Not a Buffer: its slices share their memory, which nobody expects of bytes.
  return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length);
}

/**
 * Holds vectors against what was asked for: one for each input, all of one length, that which was asked for, and only finite
 * numbers in them.
 * @throws BadAnswer
 */
export function checkVectors(inputs: number, dimensions: number | undefined, vectors: readonly Uint8Array[]): void {
  if (vectors.length !== inputs) throw new BadAnswer(`${vectors.length} embeddings, and ${inputs} were asked for`);
  const length = dimensions === undefined ? (vectors[0]?.length ?? 0) : dimensions * bytesPerValue;
  for (const vector of vectors) {
    if (vector.length !== length || length === 0)
      throw new BadAnswer(
        `an embedding of ${vector.length / bytesPerValue} dimensions where ${length / bytesPerValue} are right`,
      );
    if (!isFinite32(vector)) throw new BadAnswer("an embedding with values that are not finite");
  }
}

/** A number is NaN or infinite if all bits of its exponent are set. The bytes may stand anywhere in memory. */
function isFinite32(vector: Uint8Array): boolean {
  for (let at = 3; at < vector.length; at += bytesPerValue) {
    if (((vector[at] ?? 0) & 0x7f) === 0x7f && (vector[at - 1] ?? 0) >= 0x80) return false;
  }
  return true;
}

/**
 * The scores of documents, from an engine's list of what it found, in whatever order.
 * @throws BadAnswer unless each document has one that is finite.
 */
export function scoresFrom(documents: number, found: readonly { index: unknown; score: unknown }[]): number[] {
  if (found.length !== documents)
    throw new BadAnswer(`scores of ${found.length} documents, and ${documents} were asked for`);
  const scores = new Array<number>(documents).fill(Number.NaN);
  for (const { index, score } of found) {
    if (typeof index !== "number" || !Number.isInteger(index) || index < 0 || index >= documents)
      throw new BadAnswer("a score of a document that was not sent");
    if (typeof score !== "number" || !Number.isFinite(score)) throw new BadAnswer("a score that is no finite number");
    if (!Number.isNaN(scores[index])) throw new BadAnswer("two scores of one document");
    scores[index] = score;
  }
  return scores;
}

/**
 * A count of tokens that an engine was asked for.
 * @throws BadAnswer for one that can't be.
 */
export function countFrom(raw: unknown): number {
  if (typeof raw === "number" && isCount(raw)) return raw;
  throw new BadAnswer("a count of tokens that can't be");
}

/** A count that came along; undefined for none, and for one that can't be: a lie must not reach a bill. */
export function toldCount(...candidates: readonly unknown[]): number | undefined {
  return candidates.find((raw): raw is number => typeof raw === "number" && isCount(raw));
}
