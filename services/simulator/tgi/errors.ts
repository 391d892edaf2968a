/** Why a request fails, in the words of TGI. */
export interface TgiFailure {
  readonly error: string;
  readonly error_type: string;
  readonly status: number;
}

/** A request that the server will not run as it is. */
export function invalid(text: string): TgiFailure {
  return { error: `Input validation error: ${text}`, error_type: "validation", status: 422 };
}

export const overloaded: TgiFailure = { error: "Model is overloaded", error_type: "overloaded", status: 429 };

export const incomplete: TgiFailure = {
  error: "Incomplete generation",
  error_type: "incomplete_generation",
  status: 500,
};

export const failedGeneration: TgiFailure = {
  error: "Request failed during generation: Server error: CUDA error: an illegal memory access was encountered",
  error_type: "generation",
  status: 424,
};

export function toolError(text: string): TgiFailure {
  return { error: `Tool error: ${text}`, error_type: "tool_error", status: 422 };
}
