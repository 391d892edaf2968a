import { randomUUID } from "node:crypto";
import { type ServerUnaryCall, type ServerWritableStream, type sendUnaryData, status } from "@grpc/grpc-js";
import { Control } from "../../../gen/ts/engine/vllm/control_pb.ts";
import { type GenerateRequest, Inference } from "../../../gen/ts/engine/vllm/inference_pb.ts";
import type { Engine } from "../engine.ts";
import { serveHealth } from "../grpc/health.ts";
import { type Outlet, streamOutlet, unaryOutlet } from "../grpc/outlet.ts";
import { answerQuestion, createGrpcServer, type GrpcServer, isRefusal, registerMethod } from "../grpc/server.ts";
import type { OpenServer } from "../listener.ts";
import { type Response, VllmAnswer } from "./answer.ts";
import { askedFrom } from "./request.ts";

/** The side of vLLM's own gRPC. */
export interface VllmServerOptions {
  readonly engine: Engine;
  readonly models: readonly string[];
  readonly host: string;
  readonly port: number;
  /** Ends the process, or everything of it that this simulator opened. */
  readonly crash: () => void;
}

/** Serves vllm.Inference and vllm.Control as vLLM's Rust front end does. */
export function openVllmServer(options: VllmServerOptions): Promise<OpenServer> {
  const server = createGrpcServer();
  const aborts = registerInference(server, options);
  registerControl(server, options, aborts);
  return server.open(options.host, options.port);
}

type Call = Pick<ServerUnaryCall<GenerateRequest, Response>, "request" | "metadata" | "on">;

/** Returns what ends the requests of an id, of which there may be several. */
function registerInference(server: GrpcServer, { engine, models, crash }: VllmServerOptions): (id: string) => void {
  const running = new Map<string, Set<() => void>>();
  let ordinal = 0;

  const run = (call: Call, streams: boolean, outlet: Outlet<Response>): void => {
    const rank = String(call.metadata.get("x-data-parallel-rank")[0] ?? "");
    const asked = askedFrom(call.request, models, engine.speed.contextLength, rank);
    if (isRefusal(asked)) return outlet.fail(asked);
    const id = call.request.requestId || `sim-vllm-${ordinal++}`;
    const answer = new VllmAnswer(asked, streams, {
      ...outlet,
      end: () => (forget(), outlet.end()),
      fail: (refusal) => (forget(), outlet.fail(refusal)),
    });
    const abort = () => {
      forget();
      job.cancel();
      answer.aborted();
    };
    const forget = () => {
      const others = running.get(id);
      others?.delete(abort);
      if (others?.size === 0) running.delete(id);
    };
    running.set(id, (running.get(id) ?? new Set()).add(abort));
    const job = engine.run({ ...asked.job, id }, answer);
    answer.running = job;
    call.on("cancelled", () => {
      forget();
      job.cancel();
    });
  };

  const { generate, generateStream } = Inference.method;
  registerMethod(server.grpc, generateStream, (call: ServerWritableStream<GenerateRequest, Response>) =>
    run(call, true, streamOutlet(call, server, crash)),
  );
  registerMethod(
    server.grpc,
    generate,
    (call: ServerUnaryCall<GenerateRequest, Response>, reply: sendUnaryData<Response>) =>
      run(call, false, unaryOutlet(call, reply, server, crash)),
  );
  return (id) => {
    for (const abort of running.get(id) ?? []) abort();
  };
}

function registerControl(
  { grpc }: GrpcServer,
  { engine, models }: VllmServerOptions,
  abort: (id: string) => void,
): void {
  const { method } = Control;
  const { slots, contextLength, kvTokens } = engine.speed;
  const blockSize = 16;
  const [servedModelName = "", ...servedModelAliases] = models;
  const instanceId = randomUUID();
  serveHealth(grpc, [Inference.typeName, Control.typeName]);
  answerQuestion(grpc, method.getServerInfo, () => ({
    engineVersion: "0.32.0+weir.simulator",
    apiVersion: "vllm",
    instanceId,
    maxModelLen: contextLength,
    kvBlockSize: blockSize,
    totalKvBlocks: BigInt(Math.ceil(kvTokens / blockSize)),
    maxRunningRequests: BigInt(slots),
  }));
  answerQuestion(grpc, method.getModelInfo, () => ({
    modelId: servedModelName,
    servedModelName,
    servedModelAliases,
    supportsTextInput: true,
    supportsTokenIdsInput: true,
  }));
  answerQuestion(grpc, method.abort, ({ requestIds }) => {
    for (const id of requestIds) abort(id);
    return {};
  });
  const lorasOff = { code: status.FAILED_PRECONDITION, text: "engine was not started with LoRA enabled" };
  answerQuestion(grpc, method.listLoras, () => lorasOff);
  answerQuestion(grpc, method.isPaused, () => ({ paused: false }));
  answerQuestion(grpc, method.isSleeping, () => ({ sleeping: false }));
}
