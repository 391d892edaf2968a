import { constants, type IncomingHttpHeaders } from "node:http2";
import { status as grpcStatus } from "@grpc/grpc-js";

/** How a call ended, if not well: a gRPC status, the server's or what stands for it where the server gave none. */
export class StatusError extends Error {
  readonly code: number;
  readonly details: string;

  constructor(code: number, details: string, cause?: unknown) {
    super(`${code} ${grpcStatus[code] ?? "no status"}: ${details}`, { cause });
    this.code = code;
    this.details = details;
  }
}

/** What the trailers say; undefined: the call ended well. */
export function statusFromTrailers(trailers: IncomingHttpHeaders): StatusError | undefined {
  const said = trailers["grpc-status"];
  if (said === "0") return undefined;
  if (typeof said !== "string") return new StatusError(grpcStatus.UNKNOWN, "the call ended without gRPC status");
  const message = trailers["grpc-message"];
  return new StatusError(/^-?\d+$/.test(said) ? Number(said) : Number.NaN, decoded(String(message ?? "")));
}

/** Percent signs in it may be meant as they are. */
function decoded(message: string): string {
  try {
    return decodeURIComponent(message);
  } catch {
    return message;
  }
}

/** A response that is not one of gRPC, as gRPC's own table has it. */
export function statusFromHttp(status: number): StatusError {
  const codes: Readonly<Record<number, grpcStatus>> = {
    400: grpcStatus.INTERNAL,
    401: grpcStatus.UNAUTHENTICATED,
    403: grpcStatus.PERMISSION_DENIED,
    404: grpcStatus.UNIMPLEMENTED,
    429: grpcStatus.UNAVAILABLE,
    502: grpcStatus.UNAVAILABLE,
    503: grpcStatus.UNAVAILABLE,
    504: grpcStatus.UNAVAILABLE,
  };
  return new StatusError(codes[status] ?? grpcStatus.UNKNOWN, `Received HTTP status code ${status}`);
}

/** A stream that the server reset, as gRPC's own table has it. */
export function statusFromReset(code: number): StatusError {
  switch (code) {
    case constants.NGHTTP2_NO_ERROR:
      return new StatusError(grpcStatus.UNKNOWN, "the call ended without gRPC status");
    case constants.NGHTTP2_REFUSED_STREAM:
      return new StatusError(grpcStatus.UNAVAILABLE, "Stream refused by server");
    case constants.NGHTTP2_CANCEL:
      return new StatusError(grpcStatus.CANCELLED, "Call cancelled");
    case constants.NGHTTP2_ENHANCE_YOUR_CALM:
      return new StatusError(grpcStatus.RESOURCE_EXHAUSTED, "Bandwidth exhausted or memory limit exceeded");
    case constants.NGHTTP2_INADEQUATE_SECURITY:
      return new StatusError(grpcStatus.PERMISSION_DENIED, "Protocol not secure enough");
    default:
      return new StatusError(grpcStatus.INTERNAL, `Received RST_STREAM with code ${code}`);
  }
}
