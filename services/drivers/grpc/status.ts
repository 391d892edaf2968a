import { status as grpcStatus } from "@grpc/grpc-js";
import { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import { fail, WeirError } from "../../runtime/errors/fail.ts";
import type { Sighting } from "../driver.ts";
import { contextOverflow, isAway, isDead, isFull } from "../engine-text.ts";
import {
  contextFailure,
  credential,
  type Failure,
  failed,
  lost,
  overloaded,
  protocol,
  refusal,
  tooLarge,
  unavailable,
} from "../failure.ts";
import { StatusError } from "./status-error.ts";

/** What an engine's text means by itself, if it is one that is known. */
export type Recognise = (text: string) => Failure | undefined;

/** What the connection says when it ends under a call; without a connection it says another thing. */
const broken = /^Connection dropped/;
const unconnected = /^No connection established/;
/** What a call says of bytes that are no message, no frame, or no HTTP/2. */
const unreadable = /^Response message parsing error|^Invalid|^Protocol error/;
const statusless = /ended without gRPC status/;

/** What engines' texts mean in every protocol. */
export function knownFailure(text: string): Failure | undefined {
  const overflow = contextOverflow(text);
  if (overflow) return contextFailure(overflow);
  if (isFull(text)) return overloaded;
  if (isDead(text)) return lost;
  return isAway(text) ? unavailable : undefined;
}

/** What the status of a call means. `text` is what came with it, and `recognise` knows the engine's own words. */
export function failureFromStatus(code: number, text: string, recognise: Recognise = knownFailure): Failure {
  if (!(code in grpcStatus) || statusless.test(text)) return protocol("an end without a status");
  if (code === grpcStatus.RESOURCE_EXHAUSTED) return exhausted(text, recognise);
  if (code === grpcStatus.INTERNAL && unreadable.test(text)) return protocol("a response that cannot be read");
  const recognised = recognise(text);
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

/** Code 8 has several causes, and few are a quota: only the text tells them apart. */
function exhausted(text: string, recognise: Recognise): Failure {
  // Ours, of what it sends, and the server's own, of what it was sent.
  const limit = /message larger than max \(\d+ > (\d+)\)/i.exec(text)?.[1];
  if (limit !== undefined) return tooLarge(Number(limit));
  if (/message larger than max/i.test(text)) return protocol("a message longer than the limit");
  if (/metadata size|header/i.test(text)) return protocol("more metadata than it takes");
  // So a call says when the server reset its stream with ENHANCE_YOUR_CALM.
  if (/bandwidth exhausted|memory limit exceeded|too_many_pings/i.test(text)) return unavailable;
  return recognise(text) ?? overloaded;
}

/** A failed question of a probe as one of the reasons that a probe may give. */
export function probeError(thrown: unknown, recognise?: Recognise): WeirError {
  // It was not asked at all.
  if (thrown instanceof WeirError) return thrown;
  if (!isStatusError(thrown)) return fail(ErrorReason.ENGINE_PROTOCOL, { problem: "no answer" }, { cause: thrown });
  const { reason, metadata } = failureFromStatus(thrown.code, thrown.details, recognise);
  if (reason === ErrorReason.ENGINE_CREDENTIAL || reason === ErrorReason.ENGINE_PROTOCOL)
    return fail(reason, metadata, { cause: thrown });
  if (reason === ErrorReason.ANSWER_TOO_LARGE)
    return fail(ErrorReason.ENGINE_PROTOCOL, { problem: "an answer longer than the limit" }, { cause: thrown });
  return fail(ErrorReason.ENGINE_UNAVAILABLE, {}, { cause: thrown });
}

/** What comes of a question that only one kind of server answers. */
export async function sightingBy(question: Promise<unknown>, recognise?: Recognise): Promise<Sighting> {
  try {
    await question;
    return "yes";
  } catch (thrown) {
    const { reason } = probeError(thrown, recognise);
    if (reason === ErrorReason.ENGINE_UNAVAILABLE) return saysAway(thrown) ? "away" : "silent";
    return reason === ErrorReason.ENGINE_CREDENTIAL ? "guarded" : "no";
  }
}

/** Whether a server said itself that it is not there now, or what stands before it did. */
function saysAway(thrown: unknown): boolean {
  if (!isStatusError(thrown) || thrown.code !== grpcStatus.UNAVAILABLE) return false;
  return !broken.test(thrown.details) && !unconnected.test(thrown.details);
}

/** Whether a call ended with a status. */
export function isStatusError(thrown: unknown): thrown is StatusError {
  return thrown instanceof StatusError;
}
