import type { Fault } from "../fault.ts";

/** What vLLM says when it fails, or refuses for want of room. */
export function failureFrom({ kind }: Fault): { message: string; type: string; param: null; code: number } {
  return kind === "reject"
    ? { message: "The engine's queue is full", type: "ServiceUnavailableError", param: null, code: 503 }
    : {
        message: "CUDA error: an illegal memory access was encountered",
        type: "InternalServerError",
        param: null,
        code: 500,
      };
}
