import { status as grpcStatus } from "@grpc/grpc-js";
import { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import { contextOverflow, isAway, isFull } from "../engine-text.ts";
import {
  contextFailure,
  credential,
  type Failure,
  failed,
  lost,
  overloaded,
  protocol,
  refusal,
  unavailable,
} from "../failure.ts";

const refused =
  /unexpected shape|unexpected datatype|expect(?:ed|s) .*inputs?|missing required input|must be (?:greater|less|at least|positive|between|1 when)|invalid|not supported|is not enabled|unsupported/i;
/** What grpc-js says when a connection ends under a call; without a connection it says another thing. */
const broken = /^Connection dropped|ECONNRESET|EPIPE|ETIMEDOUT/;
const restricted = /protocol is restricted|triton-grpc-protocol/i;

/** What an error's text means, when it is all that there is: an error inside a stream has no code. */
export function failureFromText(text: string): Failure {
  return known(text) ?? failed(text);
}

/** What the status of a call means. `text` is what came with it. */
export function failureFromStatus(code: number, text: string): Failure {
  if (code === grpcStatus.RESOURCE_EXHAUSTED) return exhausted(text);
  if (code === grpcStatus.INTERNAL && /parsing error|Failed to decode|Invalid|more tensors|longer than/i.test(text))
    return protocol("a response that cannot be read");
  const recognised = known(text);
  if (recognised) return recognised;
  switch (code) {
    case grpcStatus.UNAVAILABLE:
      return broken.test(text) ? lost : unavailable;
    case grpcStatus.NOT_FOUND:
    case grpcStatus.CANCELLED:
      return unavailable;
    case grpcStatus.INVALID_ARGUMENT:
    case grpcStatus.OUT_OF_RANGE:
    case grpcStatus.FAILED_PRECONDITION:
      return refusal(text);
    case grpcStatus.UNAUTHENTICATED:
    case grpcStatus.PERMISSION_DENIED:
      return credential;
    case grpcStatus.UNIMPLEMENTED:
      return protocol("it does not know the call");
    case grpcStatus.DEADLINE_EXCEEDED:
      return { reason: ErrorReason.ENGINE_TIMEOUT, metadata: { phase: "call" } };
    default:
      return failed(text);
  }
}

/** Code 8 has several causes, and none is a quota: only the text tells them apart. */
function exhausted(text: string): Failure {
  if (/message larger than max/i.test(text)) return protocol("a message longer than the limit");
  if (/metadata size|header/i.test(text)) return protocol("more metadata than it takes");
  // grpc-js says this when the server ended the whole connection with ENHANCE_YOUR_CALM.
  if (/bandwidth exhausted|memory limit exceeded|too_many_pings/i.test(text)) return unavailable;
  return known(text) ?? overloaded;
}

function known(text: string): Failure | undefined {
  const overflow = contextOverflow(text);
  if (overflow) return contextFailure(overflow);
  if (restricted.test(text)) return credential;
  if (isFull(text)) return overloaded;
  if (isAway(text)) return unavailable;
  if (refused.test(text)) return refusal(text);
  return undefined;
}
