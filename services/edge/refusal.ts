/** An answer to a request that HTTP itself refuses: there is no reason for it in the contracts. */
export interface Refusal {
  readonly status: 400 | 405 | 408 | 415;
  readonly code: string;
  readonly message: string;
  readonly headers?: Readonly<Record<string, string>>;
}

export function refusalBody({ message, code }: Refusal): string {
  return JSON.stringify({ error: { message, type: "invalid_request_error", param: null, code } });
}

export function methodNotAllowed(method: string, allow: string): Refusal {
  return {
    status: 405,
    code: "method_not_allowed",
    message: `${method} is not allowed here. Use ${allow}.`,
    headers: { allow },
  };
}

export const unsupportedMediaType: Refusal = {
  status: 415,
  code: "unsupported_media_type",
  message: "The body must be JSON in UTF-8. Send `Content-Type: application/json`.",
};

export const unsupportedEncoding: Refusal = {
  status: 415,
  code: "unsupported_encoding",
  message: "The body may be compressed once, by gzip, deflate or br, and must be whole. Or send it as it is.",
};

export const requestTimeout: Refusal = {
  status: 408,
  code: "request_timeout",
  message: "The request did not arrive in time.",
};
