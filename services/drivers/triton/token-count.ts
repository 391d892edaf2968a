import { GRPCInferenceService } from "../../../gen/ts/engine/triton/grpc_service_pb.ts";
import type { Channel } from "../grpc/channel.ts";
import type { TritonInterface } from "./flavour.ts";
import { Inputs } from "./inputs.ts";

/** Tokenizers need milliseconds. An answer that is complete does not wait long to be told how it ended. */
const timeoutMs = 2_000;

const inputs = { QUERY: "BYTES", REQUEST_OUTPUT_LEN: "INT32" };

type Counter = Pick<TritonInterface, "counter" | "batched">;

/** Of each replica's counters, what they add to a text. A replica has its channel as long as it is known. */
const additions = new WeakMap<Channel, Map<string, Promise<number | undefined>>>();

/**
 * How many tokens a text is, by the model that makes token ids of prompts: without those that it adds to each of them, such
 * as one for the beginning. Undefined if it does not say.
 *
 * @param id of the question; no generation may have it, nor what begins with it.
 */
export async function countTokens(
  channel: Channel,
  counter: Counter,
  id: string,
  text: string,
): Promise<number | undefined> {
  const [tokens, added] = await Promise.all([ask(channel, counter, id, text), addedTokens(channel, counter, id)]);
  return tokens === undefined ? undefined : tokens - (added ?? 0);
}

/** Those of the empty text. A replica is asked until it has said it once. */
async function addedTokens(channel: Channel, counter: Counter, id: string): Promise<number | undefined> {
  const known = additions.get(channel) ?? new Map<string, Promise<number | undefined>>();
  additions.set(channel, known);
  const asked = known.get(counter.counter) ?? ask(channel, counter, `${id}-empty`, "");
  known.set(counter.counter, asked);
  const added = await asked;
  if (added === undefined) known.delete(counter.counter);
  return added;
}

async function ask(
  channel: Channel,
  { counter, batched }: Counter,
  id: string,
  text: string,
): Promise<number | undefined> {
  const asked = new Inputs({ batched, inputs });
  asked.add("QUERY", text);
  asked.add("REQUEST_OUTPUT_LEN", 1);
  const { modelInfer } = GRPCInferenceService.method;
  try {
    const { signal } = new AbortController();
    const { outputs, rawOutputContents } = await channel.ask(modelInfer, asked.request(counter, id), signal, timeoutMs);
    const raw = rawOutputContents[outputs.findIndex(({ name }) => name === "REQUEST_INPUT_LEN")];
    return raw?.length === 4 ? Buffer.from(raw).readInt32LE() : undefined;
  } catch {
    // The answer itself is there, whatever becomes of this question.
    return undefined;
  }
}
