import { Code, ConnectError } from "@connectrpc/connect";
import { describe, expect, it } from "vitest";
import { ErrorDetailSchema, ErrorReason, ErrorSource, Retry } from "../../gen/ts/weir/error/v1/error_pb.ts";
import { detailOf, errorFromDetail, fail, WeirError, weirErrorFrom } from "../../services/runtime/errors/fail.ts";
import { openaiErrorBody } from "../../services/runtime/errors/http-body.ts";
import { errorRow } from "../../services/runtime/errors/table.ts";

const reasons = Object.entries(ErrorReason).filter(([, reason]) => reason !== ErrorReason.UNSPECIFIED);

describe("every reason", () => {
  it.each(reasons)("%s has a row that fits together", (_name, reason) => {
    const row = errorRow(reason);
    expect(row.http).toBeGreaterThanOrEqual(400);
    expect(row.source).not.toBe(ErrorSource.UNSPECIFIED);
    expect(row.retry).not.toBe(Retry.UNSPECIFIED);
    // What is not the caller's fault is not told as such, and the other way round.
    if (row.http >= 500) expect(row.openaiType).toBe("server_error");
    if (row.source === ErrorSource.CALLER && row.http < 500) expect(row.openaiType).not.toBe("server_error");
    const message = row.message({});
    expect(message).toMatch(/^[A-Z`/].*[.)]$/s);
    expect(message).not.toContain("undefined");
  });
});

describe("a failure", () => {
  it("survives the way over a wire as it was", () => {
    const sent = fail(ErrorReason.QUEUE_FULL, { model: "m", queue_max: "4" }, { retryAfterMs: 1_500 });
    const received = weirErrorFrom(errorFromDetail(detailOf(sent)));
    expect(received).toMatchObject({
      reason: ErrorReason.QUEUE_FULL,
      facts: { model: "m", queue_max: "4" },
      retryAfterMs: 1_500,
    });
    expect(received.code).toBe(Code.Unavailable);
    expect(received.findDetails(ErrorDetailSchema)).toHaveLength(1);
  });

  it("without a reason becomes INTERNAL and keeps its words to itself", () => {
    const error = weirErrorFrom(new Error("relation keys does not exist"));
    expect(error.reason).toBe(ErrorReason.INTERNAL);
    expect(error.message).not.toContain("relation");
    expect(JSON.stringify(openaiErrorBody(error))).not.toContain("relation");
  });

  it.each([
    [Code.Canceled, ErrorReason.CANCELLED],
    [Code.DeadlineExceeded, ErrorReason.DEADLINE_EXCEEDED],
    [Code.Unimplemented, ErrorReason.UNKNOWN_METHOD],
    [Code.Unavailable, ErrorReason.SERVICE_UNAVAILABLE],
    [Code.DataLoss, ErrorReason.INTERNAL],
  ] as const)("of Connect code %s without a detail is told as the reason that fits", (code, reason) => {
    expect(weirErrorFrom(new ConnectError("x", code)).reason).toBe(reason);
  });

  it("is an OpenAI-style body with all four keys", () => {
    const error = fail(ErrorReason.INVALID_ARGUMENT, {
      param: "messages[0].role",
      code: "invalid_value",
      problem: "unknown role",
    });
    expect(error).toBeInstanceOf(WeirError);
    expect(openaiErrorBody(error)).toEqual({
      error: {
        message: "Invalid `messages[0].role`: unknown role.",
        type: "invalid_request_error",
        param: "messages[0].role",
        code: "invalid_value",
      },
    });
  });
});
