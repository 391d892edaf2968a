/** Why a request fails, in the form of the API. */
export interface AnthropicFailure {
  readonly status: number;
  readonly type: string;
  readonly message: string;
}

/** A request that the API will not run as it is. */
export function invalid(message: string): AnthropicFailure {
  return { status: 400, type: "invalid_request_error", message };
}

/** A model that there is not. */
export function missing(model: unknown): AnthropicFailure {
  return { status: 404, type: "not_found_error", message: `model: ${String(model)}` };
}

export const overloaded: AnthropicFailure = { status: 529, type: "overloaded_error", message: "Overloaded" };
export const internal: AnthropicFailure = { status: 500, type: "api_error", message: "Internal server error" };

/** The body of a failure. */
export function failureBody({ type, message }: AnthropicFailure, id: string): object {
  return { type: "error", error: { type, message }, request_id: `req_${id}` };
}
