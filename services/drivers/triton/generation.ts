import { status as grpcStatus, type ServiceError } from "@grpc/grpc-js";
import type { GenerateResponse } from "../../../gen/ts/weir/router/v1/inference_service_pb.ts";
import type { Timer } from "../../runtime/clock.ts";
import type { Cancel, Sink } from "../../runtime/mesh/push.ts";
import { Answer } from "../answer.ts";
import { missingCapability, unsupported } from "../capabilities.ts";
import type { Attempt, Target } from "../driver.ts";
import { failed, protocol, unavailable } from "../failure.ts";
import { connectTimeoutMs } from "../reach.ts";
import type { Channel } from "./channel.ts";
import type { InferMessage } from "./codec.ts";
import { failureFromStatus, failureFromText } from "./errors.ts";
import type { TritonInterface } from "./flavour.ts";
import type { InferRequest } from "./inputs.ts";
import { EngineGaveUp, Reader } from "./reader.ts";
import type { BuiltRequest } from "./request.ts";
import { tensorrtRequest } from "./request-tensorrt.ts";
import { vllmRequest } from "./request-vllm.ts";
import { stopBehindEnsemble } from "./stop-request.ts";

/** What a generation needs beside the attempt. */
export interface Surroundings {
  readonly channel: Channel;
  readonly target: Target;
  readonly model: TritonInterface;
}

/**
 * Runs one attempt.
 *
 * It has a call of its own, which is half-closed at once: so an end of the call is an end of the generation. The id is
 * done at its final flag, its first error, or the end of the call, whichever comes first; an end without either of the
 * others is a truncated answer. A response with another id belongs to nobody and is dropped.
 */
export function startGeneration(around: Surroundings, attempt: Attempt, sink: Sink<GenerateResponse>): Cancel {
  const { model } = around;
  const prompt = attempt.request.input.case === "prompt" ? attempt.request.input.value : attempt.prompt;
  const missing = missingCapability(attempt) ?? (prompt === undefined ? unsupported(attempt, "messages") : undefined);
  if (missing) return refuse(sink, missing);
  const stream = attempt.request.stream && model.decoupled && "stream" in model.inputs;
  const build = model.flavour === "vllm" ? vllmRequest : tensorrtRequest;
  const built = build({ attempt, model, prompt: prompt ?? "", stream });
  if (built.kind === "unsupported") return refuse(sink, unsupported(attempt, built.param));

  const call = new Call(around, attempt, sink, built, stream, prompt ?? "");
  call.start(built.request);
  return () => call.answer.cancel();
}

function refuse(sink: Sink<GenerateResponse>, error: ReturnType<typeof unsupported>): Cancel {
  sink.fail(error);
  return () => undefined;
}

/** The call of one generation: what comes from grpc-js goes to the reader, and its ends to the answer. */
class Call {
  readonly answer: Answer;
  readonly #around: Surroundings;
  readonly #id: string;
  readonly #reader: Reader;
  #connection: { cancel(): void; pause?(): void; resume?(): void } | undefined;
  #connecting: Timer | undefined;
  #warned = false;

  constructor(
    around: Surroundings,
    attempt: Attempt,
    sink: Sink<GenerateResponse>,
    built: Extract<BuiltRequest, { kind: "request" }>,
    streams: boolean,
    prompt: string,
  ) {
    const { model, target } = around;
    this.#around = around;
    this.#id = attempt.id;
    const engine = {
      pause: () => this.#connection?.pause?.(),
      resume: () => this.#connection?.resume?.(),
      release: (stop: boolean) => this.#release(stop),
    };
    this.answer = new Answer({ attempt, target, sink, engine, streams, ignored: built.ignored });
    this.#reader = new Reader({
      model,
      outlet: this.answer,
      stops: attempt.request.sampling?.stop ?? [],
      prompt: "exclude_input_in_output" in model.inputs ? "" : prompt,
      maxTokens: built.maxTokens,
    });
  }

  start(request: InferRequest): void {
    const { channel, target, model } = this.#around;
    if (!channel.isConnected()) {
      this.#connecting = target.clock.setTimer(connectTimeoutMs, () => {
        if (this.answer.open && !channel.isConnected()) this.answer.fail(this.answer.error(unavailable));
      });
    }
    try {
      if (model.decoupled) this.#stream(request);
      else this.#infer(request);
    } catch (thrown) {
      // grpc-js throws for a channel that was closed meanwhile.
      this.answer.fail(this.answer.error(unavailable, thrown));
    }
  }

  #stream(request: InferRequest): void {
    const call = this.#around.channel.stream();
    this.#connection = call;
    call.on("data", (message: InferMessage) => this.#message(message));
    call.on("end", () => this.answer.end());
    call.on("error", (error: ServiceError) => this.#lost(error));
    call.write(request);
    call.end();
  }

  #infer(request: InferRequest): void {
    this.#connection = this.#around.channel.infer(request, (error, message) => {
      if (error) this.#lost(error);
      else if (message) this.#message({ ...message, final: true });
    });
  }

  #message(message: InferMessage): void {
    const { answer } = this;
    // It goes on after its end: nobody reads that.
    if (!answer.open) return this.#connection?.cancel();
    if (message.id !== "" && message.id !== this.#id) return this.#foreign(message.id);
    answer.touch();
    if (message.error !== "") return answer.fail(answer.error(failureFromText(message.error)), false);
    const wasted = this.#read(message);
    if (!answer.open) return;
    if (message.final) {
      this.#reader.ended();
      answer.end();
    } else if (wasted && answer.complete) {
      answer.end(true);
    }
  }

  #read(message: InferMessage): boolean {
    try {
      return this.#reader.read(message);
    } catch (thrown) {
      const text = thrown instanceof Error ? thrown.message : "a response that cannot be read";
      this.answer.fail(this.answer.error(thrown instanceof EngineGaveUp ? failed(text) : protocol(text), thrown));
      return false;
    }
  }

  #lost(error: ServiceError): void {
    if (!this.answer.open || error.code === grpcStatus.OK) return;
    this.answer.broke(this.answer.error(failureFromStatus(error.code, error.details), error));
  }

  #foreign(id: string): void {
    if (this.#warned) return;
    this.#warned = true;
    process.emitWarning(`a response for ${id} came on the stream of ${this.#id}, and was dropped`, {
      code: "WEIR_TRITON_FOREIGN_RESPONSE",
    });
  }

  #release(stop: boolean): void {
    this.#connecting?.cancel();
    if (!stop) return;
    this.#connection?.cancel();
    const { channel, model, target } = this.#around;
    if (model.stopModel !== "" && this.#connection)
      stopBehindEnsemble(channel, model.stopModel, this.#id, target.clock);
  }
}
