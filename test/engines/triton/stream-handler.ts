import { createTritonClient } from "./client.ts";
import type { TritonServer } from "./server.ts";

/** A stuck one answers never, a busy one within a second. */
const patienceMs = 10_000;

/**
 * Whether the server still answers streams, asked through an idle model by a client that is not the product's.
 *
 * Triton 2.51 has one thread for all gRPC streams. A cancel that meets a response on its way can leave that thread and the
 * response's waiting for each other's locks, or memory freed twice, after which the handler of the signal waits for ever
 * for the lock of the allocator. Either way the process stays, says that it is ready, and hears no cancel and no request.
 * Of this kind are its issues 7368 and 8034, mended in later versions.
 */
export async function answersStreams(server: TritonServer, idleModel: "ensemble" | "vllm_model"): Promise<boolean> {
  using client = createTritonClient(server.grpcAddress);
  const inputs = { text_input: "[[tokens=1]] hello", stream: true };
  const stream =
    idleModel === "ensemble"
      ? client.infer("ensemble", { ...inputs, max_tokens: 2 })
      : client.infer("vllm_model", inputs, { batched: false });
  const timer = setTimeout(() => stream.cancel(), patienceMs);
  try {
    for await (const { errorMessage } of stream) return errorMessage === "";
    return false;
  } catch {
    // Cancelled by the timer, or the server is gone.
    return false;
  } finally {
    clearTimeout(timer);
  }
}
