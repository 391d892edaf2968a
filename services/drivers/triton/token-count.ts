import { GRPCInferenceService } from "../../../gen/ts/engine/triton/grpc_service_pb.ts";
import type { Channel } from "../grpc/channel.ts";
import type { TritonInterface } from "./flavour.ts";
import { Inputs } from "./inputs.ts";

/** Tokenizers need milliseconds. An answer that is complete does not wait long to be told how it ended. */
const timeoutMs = 2_000;

const inputs = { QUERY: "BYTES", REQUEST_OUTPUT_LEN: "INT32" };

/**
 * How many tokens a text is, by the model that makes token ids of prompts: with those that it puts before each of them.
 * Undefined if it does not say.
 *
 * @param id of the question; no generation may have it.
 */
export async function countTokens(
  channel: Channel,
  { counter, batched }: Pick<TritonInterface, "counter" | "batched">,
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
