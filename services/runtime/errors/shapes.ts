import { Code } from "@connectrpc/connect";

/** How a kind of failure looks on every door. */
interface Shape {
  /** Status of a Connect or gRPC call. */
  readonly code: Code;
  /** Status of an HTTP answer. */
  readonly http: number;
  /** `error.type` of an OpenAI-style body. */
  readonly openaiType: string;
  /** `error.type` of an Anthropic-style body. */
  readonly anthropicType: string;
}

/** The shapes that reasons share: code, HTTP status, OpenAI type, Anthropic type. */
export const shapes = {
  invalid: {
    code: Code.InvalidArgument,
    http: 400,
    openaiType: "invalid_request_error",
    anthropicType: "invalid_request_error",
  },
  tooLarge: {
    code: Code.ResourceExhausted,
    http: 413,
    openaiType: "invalid_request_error",
    anthropicType: "request_too_large",
  },
  conflict: {
    code: Code.AlreadyExists,
    http: 409,
    openaiType: "invalid_request_error",
    anthropicType: "invalid_request_error",
  },
  precondition: {
    code: Code.FailedPrecondition,
    http: 409,
    openaiType: "invalid_request_error",
    anthropicType: "invalid_request_error",
  },
  unprocessable: {
    code: Code.FailedPrecondition,
    http: 422,
    openaiType: "invalid_request_error",
    anthropicType: "invalid_request_error",
  },
  notFound: { code: Code.NotFound, http: 404, openaiType: "invalid_request_error", anthropicType: "not_found_error" },
  unimplemented: {
    code: Code.Unimplemented,
    http: 404,
    openaiType: "invalid_request_error",
    anthropicType: "not_found_error",
  },
  unauthenticated: {
    code: Code.Unauthenticated,
    http: 401,
    openaiType: "invalid_request_error",
    anthropicType: "authentication_error",
  },
  denied: {
    code: Code.PermissionDenied,
    http: 403,
    openaiType: "invalid_request_error",
    anthropicType: "permission_error",
  },
  tooMany: { code: Code.ResourceExhausted, http: 429, openaiType: "requests", anthropicType: "rate_limit_error" },
  unavailable: { code: Code.Unavailable, http: 503, openaiType: "server_error", anthropicType: "overloaded_error" },
  badGateway: { code: Code.Unavailable, http: 502, openaiType: "server_error", anthropicType: "api_error" },
  timeout: { code: Code.DeadlineExceeded, http: 504, openaiType: "server_error", anthropicType: "timeout_error" },
  cancelled: {
    code: Code.Canceled,
    http: 499,
    openaiType: "invalid_request_error",
    anthropicType: "invalid_request_error",
  },
  internal: { code: Code.Internal, http: 500, openaiType: "server_error", anthropicType: "api_error" },
} as const satisfies Record<string, Shape>;
