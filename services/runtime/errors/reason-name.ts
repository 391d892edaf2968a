import { type ErrorReason, ErrorReasonSchema } from "../../../gen/ts/weir/error/v1/error_pb.ts";

/** A reason's name without its prefix, "QUEUE_FULL"; one that a newer peer sent has no name here, and is "UNKNOWN". */
export function reasonName(reason: ErrorReason): string {
  return ErrorReasonSchema.value[reason]?.localName ?? "UNKNOWN";
}
