import { describe, expect, test } from "vitest";
import { ErrorReason } from "../../gen/ts/weir/error/v1/error_pb.ts";
import { contextOverflow, scrubbed, withoutKey } from "../../services/drivers/engine-text.ts";
import type { Failure } from "../../services/drivers/failure.ts";
import { engineErrorIn, failureFromError, failureFromResponse } from "../../services/drivers/openai/errors.ts";
import { failureFromAnthropic } from "../../services/drivers/anthropic/errors.ts";
import { failureFromTgi } from "../../services/drivers/tgi/errors.ts";
import { failureFromTgisStatus } from "../../services/drivers/tgis/errors.ts";
import { failureFromVllmStatus } from "../../services/drivers/vllm/errors.ts";
import { failureFromText, failureFromTritonStatus } from "../../services/drivers/triton/errors.ts";

const nothingSaid = { message: "", kind: "", status: 0, limit: "", promptTokens: "" };

type ReasonName = keyof typeof ErrorReason;

function reason(failure: Failure | undefined): string | undefined {
  return Object.entries(ErrorReason).find(([, value]) => value === failure?.reason)?.[0];
}

const headOf = (status: number, fields: Readonly<Record<string, string>> = {}) => ({
  status,
  field: (name: string) => fields[name],
});

describe("an engine's words for a caller", () => {
  test.each([
    ["bad key hunter2-hunter2", "bad key (key)"],
    ["hunter2-hunter2 is not hunter2-hunter2", "(key) is not (key)"],
    ["bad key hunter2-h…", "bad key (key)"],
    ["bad key hunt…", "bad key (key)"],
    ["no such hut…", "no such hut…"],
    ["bad key", "bad key"],
  ])("%j, without the engine's own key", (text, expected) => {
    expect(withoutKey(text, "hunter2-hunter2")).toBe(expected);
  });

  test.each([
    ["[request id: 0190-ab] Request was cancelled", "Request was cancelled"],
    ["[request id: <id_unknown>] in ensemble 'ensemble', no room", "no room"],
    [
      'Traceback (most recent call last):\n  File "/opt/tritonserver/model.py", line 80, in execute\n    go()\nc_python.TritonModelException: it broke\n',
      "it broke",
    ],
    ["failed\n\nAt:\n  /opt/x.py(12): execute\n", "failed"],
    ["cannot read /root/models/llama/1/model.plan", "cannot read (path)"],
    ["connect to 10.0.0.7:8001 failed", "connect to (address) failed"],
    ["see http://intern.example/x for help", "see (address) for help"],
    ["Incorrect API key provided: sk-abcdef123", "Incorrect API key provided: (key)"],
    ["a\tb\u0000c\n d", "a b c d"],
    ["temperature must be between 0 and 2", "temperature must be between 0 and 2"],
    ["and/or 1/2", "and/or 1/2"],
  ])("%j", (text, expected) => {
    expect(scrubbed(text)).toBe(expected);
  });

  test("are cut", () => {
    expect(scrubbed("x".repeat(5_000))).toHaveLength(301);
  });

  test("are those at a traceback's end, however long it is", () => {
    const traceback = `Traceback (most recent call last):\n${'  File "/opt/model.py", line 80\n'.repeat(1_000)}`;
    expect(scrubbed(`${traceback}engine.core.EngineError: it broke\n`)).toBe("it broke");
    const overflow = "ValueError: maximum context length is 8 tokens, however you requested 9 tokens";
    expect(contextOverflow(traceback + overflow)).toMatchObject({ limit: "8" });
  });

  // A server-sent event and a message of Triton's may be that long.
  const mebibytes = (piece: string) => piece.repeat((2 * 1_048_576) / piece.length);
  const endless = ["a.", "1", "expected ", "max_seq_len", "[request id: ", "in ensemble '", "/", " ", "Bearer "];
  test.each(endless)("take no time that grows with them: %j without end", (piece) => {
    const text = `maximum context length exceeded ${mebibytes(piece)}`;
    const before = process.threadCpuUsage().user;
    const readings = [
      scrubbed(text),
      failureFromText(text),
      failureFromText(mebibytes(piece)),
      failureFromTgi({ message: mebibytes(piece), type: "", status: 0 }),
      failureFromAnthropic(0, { type: "", message: mebibytes(piece) }),
      failureFromTgisStatus(2, `Unexpected <class 'ValueError'>: ${mebibytes(piece)}`),
      failureFromVllmStatus(2, mebibytes(piece)),
      failureFromError({ ...nothingSaid, kind: mebibytes(piece), message: mebibytes(piece) }),
    ];
    expect(process.threadCpuUsage().user - before).toBeLessThan(500_000);
    expect(JSON.stringify(readings).length).toBeLessThan(20_000);
  });
});

describe("an overflow of the context", () => {
  test.each<[string, string, string, string, string]>([
    [
      "vLLM",
      "This model's maximum context length is 8192 tokens. However, you requested 9000 tokens (8900 in the messages, 100 in the completion). Please reduce the length.",
      "8192",
      "8900",
      "100",
    ],
    [
      "vLLM, newer",
      "This model's maximum context length is 4096 tokens. However, you requested 10 output tokens and your prompt contains at least 5001 input tokens, for a total of at least 5011 tokens.",
      "4096",
      "5001",
      "10",
    ],
    [
      "vLLM, Rust",
      "this model's maximum context length is 4096 tokens, but the prompt contains 5001 input tokens",
      "4096",
      "5001",
      "",
    ],
    [
      "vLLM, max_tokens",
      "max_tokens is too large: 9000. This model's maximum context length is 8192 tokens and your request has 12 input tokens",
      "8192",
      "12",
      "9000",
    ],
    [
      "vLLM engine",
      "The decoder prompt (length 9001) is longer than the maximum model length of 8192.",
      "8192",
      "9001",
      "",
    ],
    [
      "SGLang",
      "Requested token count exceeds the model's maximum context length of 8192 tokens. You requested a total of 9000 tokens: 8900 tokens from the input messages and 100 tokens for the completion.",
      "8192",
      "8900",
      "100",
    ],
    [
      "SGLang input",
      "The input (9000 tokens) is longer than the model's context length (8192 tokens).",
      "8192",
      "9000",
      "",
    ],
    ["TensorRT-LLM", "Prompt length (9000) exceeds maximum input length (8192).", "8192", "9000", ""],
    [
      "TensorRT-LLM's LLM API",
      "Error generating request: The sum of prompt length (9000.0), query length (0) should not exceed max_num_tokens (8192)",
      "8192",
      "9000",
      "",
    ],
    [
      "TensorRT-LLM's LLM API, without room for an answer",
      "`default_max_tokens` (-8) must be greater than 0, `default_max_tokens` (-8) = max_seq_len (8192) - `splited_prompt_len` (8200)",
      "8192",
      "8200",
      "",
    ],
    [
      "llama.cpp",
      "request (18012 tokens) exceeds the available context size (8192 tokens), try increasing it",
      "8192",
      "18012",
      "",
    ],
    [
      "llama.cpp, of a text to embed",
      "input (9003 tokens) is too large to process. increase the physical batch size (current batch size: 512)",
      "512",
      "9003",
      "",
    ],
    [
      "Text Embeddings Inference",
      "Input validation error: `inputs` must have less than 512 tokens. Given: 700",
      "512",
      "700",
      "",
    ],
  ])("in the words of %s", (_, text, limit, promptTokens, maxTokens) => {
    expect(contextOverflow(text)).toEqual({ limit, promptTokens, maxTokens });
  });

  test.each(["temperature must be at most 2", "the model's context length is 8192", "Exceeds maximum queue size"])(
    "is not %j",
    (text) => {
      expect(contextOverflow(text)).toBeUndefined();
    },
  );
});

describe("Triton's errors", () => {
  test.each<[string, ReasonName]>([
    ["Request for unknown model: 'x' has no available versions", "ENGINE_UNAVAILABLE"],
    ["[request id: q0] Exceeds maximum queue size", "ENGINE_OVERLOADED"],
    ["Request timeout expired", "ENGINE_OVERLOADED"],
    ["CUDA out of memory. Tried to allocate 2 GiB", "ENGINE_OVERLOADED"],
    ["Stub process 'vllm_model_0_0' is not healthy.", "ENGINE_UNAVAILABLE"],
    ["Model is unavailable due to unhealthy vLLM engine", "ENGINE_UNAVAILABLE"],
    ["inference request: unexpected shape for input 'max_tokens'", "ENGINE_REFUSED"],
    ["expected number of inputs between 2 and 36 but got 1 inputs for model 'ensemble'", "ENGINE_REFUSED"],
    ["Prompt length (9000) exceeds maximum input length (8192).", "CONTEXT_LENGTH_EXCEEDED"],
    ["LoRA x is not supported, we currently support []", "ENGINE_REFUSED"],
    ["Error generating stream: it broke", "ENGINE_FAILED"],
    ["", "ENGINE_FAILED"],
  ])("text %j is %s", (text, expected) => {
    expect(reason(failureFromText(text))).toBe(expected);
  });

  test.each<[number, string, ReasonName]>([
    [14, "No connection established. Last error: ECONNREFUSED", "ENGINE_UNAVAILABLE"],
    [14, "This protocol is restricted, expecting header 'triton-grpc-protocol-x'", "ENGINE_CREDENTIAL"],
    [8, "Received message larger than max (5000093 vs 4194304)", "ENGINE_PROTOCOL"],
    [8, "received metadata size exceeds hard limit", "ENGINE_PROTOCOL"],
    [8, "Bandwidth exhausted or memory limit exceeded", "ENGINE_UNAVAILABLE"],
    [8, "Exceeds maximum queue size", "ENGINE_OVERLOADED"],
    [5, "not here", "ENGINE_UNAVAILABLE"],
    [1, "Received RST_STREAM with code 8 (Cancelled)", "ENGINE_UNAVAILABLE"],
    [3, "bad shape", "ENGINE_REFUSED"],
    [7, "no", "ENGINE_CREDENTIAL"],
    [16, "no", "ENGINE_CREDENTIAL"],
    [12, "This method is unimplemented", "ENGINE_PROTOCOL"],
    [13, "Response message parsing error: premature EOF", "ENGINE_PROTOCOL"],
    [13, "Received RST_STREAM with code 2 (Internal server error)", "ENGINE_FAILED"],
    [2, "it broke", "ENGINE_FAILED"],
    [4, "Deadline exceeded", "ENGINE_TIMEOUT"],
  ])("status %i %j is %s", (code, text, expected) => {
    expect(reason(failureFromTritonStatus(code, text))).toBe(expected);
  });
});

describe("an HTTP server's errors", () => {
  const openai = (message: string, more: object = {}) => JSON.stringify({ error: { message, ...more } });

  test.each<[number, string, ReasonName]>([
    [400, openai("bad temperature", { type: "BadRequestError", code: 400 }), "ENGINE_REFUSED"],
    [
      400,
      openai("The input (9000 tokens) is longer than the model's context length (8192 tokens)."),
      "CONTEXT_LENGTH_EXCEEDED",
    ],
    [422, JSON.stringify({ detail: [{ loc: ["body", "n"], msg: "too many", input: "secret" }] }), "ENGINE_REFUSED"],
    [401, openai("Incorrect API key provided: sk-abc"), "ENGINE_CREDENTIAL"],
    [403, "<html>forbidden</html>", "ENGINE_CREDENTIAL"],
    [404, openai("The model `x` does not exist", { type: "NotFoundError", code: 404 }), "ENGINE_UNAVAILABLE"],
    [404, JSON.stringify({ detail: "Not Found" }), "ENGINE_PROTOCOL"],
    [404, "", "ENGINE_PROTOCOL"],
    [301, "", "ENGINE_PROTOCOL"],
    [413, openai("too large"), "ENGINE_REFUSED"],
    [429, openai("slow down"), "ENGINE_OVERLOADED"],
    [503, "<html>503</html>", "ENGINE_OVERLOADED"],
    [503, openai("Loading model", { type: "unavailable_error", code: 503 }), "ENGINE_UNAVAILABLE"],
    [502, "<html>bad gateway</html>", "ENGINE_UNAVAILABLE"],
    [504, "", "ENGINE_UNAVAILABLE"],
    [500, openai("it broke"), "ENGINE_FAILED"],
    [500, openai("CUDA out of memory"), "ENGINE_OVERLOADED"],
    [500, openai("EngineDeadError: see the log"), "ENGINE_UNAVAILABLE"],
    [500, '{"error":', "ENGINE_FAILED"],
  ])("%i %s is %s", (status, body, expected) => {
    expect(reason(failureFromResponse(headOf(status), body, 0))).toBe(expected);
  });

  test.each(["EngineDeadError: see the log", "EngineCore encountered an issue."])(
    "an engine that says %j may have died of this very request",
    (said) => {
      const failure = failureFromResponse(headOf(500), openai(said), 0);
      expect([reason(failure), failure.metadata["phase"]]).toEqual(["ENGINE_UNAVAILABLE", "running"]);
    },
  );

  test("llama.cpp's numbers are told", () => {
    const body = openai("request (18012 tokens) exceeds the available context size (8192 tokens)", {
      code: 400,
      type: "exceed_context_size_error",
      n_prompt_tokens: 18012,
      n_ctx: 8192,
    });
    expect(failureFromResponse(headOf(400), body, 0).metadata).toMatchObject({ limit: "8192", prompt_tokens: "18012" });
  });

  test.each([
    [{ "retry-after": "7" }, 7_000],
    [{ "retry-after": "0.5" }, 500],
    [{ "retry-after-ms": "250", "retry-after": "1" }, 250],
    [{ "retry-after": "Thu, 01 Jan 1970 00:00:30 GMT" }, 20_000],
    [{ "retry-after": "soon" }, undefined],
    [{}, undefined],
  ])("with %j another try makes sense after %s ms", (headers, expected) => {
    expect(failureFromResponse(headOf(429, headers), "", 10_000).retryAfterMs).toBe(expected);
  });

  test("nothing of a refused credential is told", () => {
    expect(failureFromResponse(headOf(401), openai("Incorrect API key provided: sk-abc"), 0).metadata).toEqual({});
  });

  test("a validation error does not repeat the caller's input", () => {
    const body = JSON.stringify({ detail: [{ loc: ["body", "n"], msg: "too many", input: "secret" }] });
    expect(failureFromResponse(headOf(422), body, 0).metadata).toEqual({ problem: "body.n: too many" });
  });

  test.each<[object, ReasonName | undefined]>([
    [{ error: { message: "it broke", code: 500 } }, "ENGINE_FAILED"],
    [{ error: { message: "slow down", code: "429" } }, "ENGINE_OVERLOADED"],
    [{ error: { message: "no such thing", code: 400 } }, "ENGINE_REFUSED"],
    [{ error: { message: "no", type: "invalid_request_error", code: "invalid_value" } }, "ENGINE_REFUSED"],
    [{ error: "model runner has unexpectedly stopped" }, "ENGINE_FAILED"],
    [{ object: "error", message: "it broke", code: 500 }, "ENGINE_FAILED"],
    [{ error: null, choices: [] }, undefined],
    [{ choices: [] }, undefined],
  ])("inside a 200: %j", (json, expected) => {
    const error = engineErrorIn(json);
    expect(reason(error && failureFromError(error))).toBe(expected);
  });
});
