import { ErrorReason } from "../../gen/ts/weir/error/v1/error_pb.ts";
import type { EmbedInput, EmbedRequest } from "../../gen/ts/weir/router/v1/inference_service_pb.ts";
import { fail } from "../runtime/errors/fail.ts";
import type { Target } from "./driver.ts";
import { engineError } from "./failure.ts";
import { BadAnswer, checkVectors, type Embedded } from "./unary.ts";

/** How many inputs an engine is asked for at once. */
export interface Batching {
  /** The inputs of the next batch. It is asked before each: what came may say more. */
  readonly size: () => number;
  /** Batches that are asked for at a time: one caller does not fill an engine's queue. */
  readonly atOnceMax: number;
}

/**
 * Asks for a batch. `suffix` tells the batches of a request apart; it is empty for one that is the whole request.
 */
export type EmbedBatch = (inputs: readonly EmbedInput[], suffix: string, signal: AbortSignal) => Promise<Embedded>;

/**
 * Embeds the inputs of a request, batch by batch. Whichever fails first ends the others, and is the failure of all; so does
 * the signal, and so does the end of the time that the target has for a request: all batches together have no more.
 * Tokens are summed, and not told where one batch's are not.
 * @throws BadAnswer for vectors that are not what was asked for.
 */
export async function embedInBatches(
  { inputs, dimensions, model }: EmbedRequest,
  { clock, totalMs, engineKey }: Pick<Target, "clock" | "totalMs" | "engineKey">,
  { size, atOnceMax }: Batching,
  signal: AbortSignal,
  embed: EmbedBatch,
): Promise<Embedded> {
  const checked = async (batch: readonly EmbedInput[], suffix: string, ends: AbortSignal) => {
    const embedded = await embed(batch, suffix, ends);
    checkVectors(batch.length, dimensions, embedded.vectors);
    return embedded;
  };
  if (inputs.length <= size()) return await checked(inputs, "", signal);

  const own = new AbortController();
  const ends = AbortSignal.any([signal, own.signal]);
  const parts: Embedded[] = [];
  let from = 0;
  let count = 0;
  const work = async () => {
    while (from < inputs.length) {
      const batch = inputs.slice(from, from + size());
      from += batch.length;
      const at = count++;
      parts[at] = await checked(batch, `-${at}`, ends);
    }
  };
  const timer = clock.setTimer(totalMs, () => {
    const metadata = { phase: "end", waited_ms: String(Math.round(totalMs)) };
    own.abort(engineError({ reason: ErrorReason.ENGINE_TIMEOUT, metadata }, model, engineKey));
  });
  try {
    await Promise.all(Array.from({ length: atOnceMax }, work));
  } catch (thrown) {
    own.abort(fail(ErrorReason.CANCELLED));
    throw thrown;
  } finally {
    timer.cancel();
  }
  return joined(parts);
}

function joined(parts: readonly Embedded[]): Embedded {
  const vectors = parts.flatMap((part) => part.vectors);
  const length = vectors[0]?.length;
  if (vectors.some((vector) => vector.length !== length)) throw new BadAnswer("embeddings of different dimensions");
  let tokens: number | undefined = 0;
  for (const part of parts)
    tokens = part.tokens === undefined || tokens === undefined ? undefined : tokens + part.tokens;
  return { vectors, tokens };
}
