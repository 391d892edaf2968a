import type { Fault } from "../fault.ts";
import type { Refusal } from "./rules.ts";

/** What vLLM says when it fails, or refuses for want of room. */
export function failureFrom({ kind }: Fault): Refusal {
  return kind === "reject"
    ? { message: "The engine's queue is full", type: "ServiceUnavailableError", status: 503 }
    : { message: "CUDA error: an illegal memory access was encountered", type: "InternalServerError", status: 500 };
}
