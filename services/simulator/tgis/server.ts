import type { MessageInitShape } from "@bufbuild/protobuf";
import type { ServerUnaryCall, ServerWritableStream, sendUnaryData } from "@grpc/grpc-js";
import {
  type BatchedGenerationRequest,
  type BatchedGenerationResponseSchema,
  GenerationService,
  ModelInfoResponse_ModelKind,
  type SingleGenerationRequest,
} from "../../../gen/ts/engine/tgis/generation_pb.ts";
import type { Clock } from "../../runtime/clock.ts";
import type { Engine } from "../engine.ts";
import { serveHealth } from "../grpc/health.ts";
import { serveReflection } from "../grpc/reflection.ts";
import { type Outlet, streamOutlet } from "../grpc/outlet.ts";
import { answerQuestion, createGrpcServer, type GrpcServer, isRefusal, registerMethod } from "../grpc/server.ts";
import type { OpenServer } from "../listener.ts";
import { type Response, TgisAnswer } from "./answer.ts";
import { askedOfIbm } from "./ibm-request.ts";
import { piecesOf } from "./pieces.ts";
import { type Asked, askedFrom, unexpected } from "./request.ts";

/** The side of TGIS. */
export interface TgisServerOptions {
  readonly engine: Engine;
  readonly clock: Clock;
  readonly host: string;
  readonly port: number;
  /** Whether it is IBM's own server. */
  readonly ibm: boolean;
  /** Ends the process, or everything of it that this simulator opened. */
  readonly crash: () => void;
}

type BatchReply = sendUnaryData<MessageInitShape<typeof BatchedGenerationResponseSchema>>;

const { method, typeName } = GenerationService;

/**
 * Serves fmaas.GenerationService as vLLM's TGIS adapter does, or as IBM's own server: one model, which answers to every
 * name.
 */
export function openTgisServer(options: TgisServerOptions): Promise<OpenServer> {
  const server = createGrpcServer();
  const runner = new Runner(options);
  registerMethod(server.grpc, method.generateStream, (call: ServerWritableStream<SingleGenerationRequest, Response>) =>
    generateStream(runner, options, server, call),
  );
  registerMethod(
    server.grpc,
    method.generate,
    (call: ServerUnaryCall<BatchedGenerationRequest, Response>, reply: BatchReply) =>
      generate(runner, options, server, call, reply),
  );
  registerQuestions(server, options.engine.speed.contextLength);
  if (!options.ibm) {
    serveHealth(server.grpc, [typeName]);
    serveReflection(server.grpc, GenerationService);
  }
  return server.open(options.host, options.port);
}

/** Runs requests by their ids, of which each may be there once at a time. */
class Runner {
  readonly #options: TgisServerOptions;
  readonly #ids = new Set<string>();
  #ordinal = 0;

  constructor(options: TgisServerOptions) {
    this.#options = options;
  }

  /** The caller's id, or one of ours. To IBM's server the caller's is a word for its log. */
  idOf(call: Pick<ServerUnaryCall<unknown, unknown>, "metadata">): string {
    return String(call.metadata.get("x-correlation-id")[0] ?? "") || `sim-tgis-${this.#ordinal++}`;
  }

  /** Returns how to end it. */
  run(id: string, asked: Asked, streams: boolean, outlet: Outlet<Response>): () => void {
    if (this.#ids.has(id) && !this.#options.ibm) {
      outlet.fail(unexpected(`Request id ${id} already running.`));
      return () => undefined;
    }
    this.#ids.add(id);
    const over = () => this.#ids.delete(id);
    const own: Outlet<Response> = {
      ...outlet,
      end: () => (over(), outlet.end()),
      fail: (refusal) => (over(), outlet.fail(refusal)),
    };
    const answer = new TgisAnswer(asked, streams, own, this.#options.clock);
    const running = this.#options.engine.run({ ...asked.job, id }, answer);
    answer.running = running;
    return () => {
      over();
      running.cancel();
    };
  }
}

function generateStream(
  runner: Runner,
  { engine, crash, ibm }: TgisServerOptions,
  server: GrpcServer,
  call: ServerWritableStream<SingleGenerationRequest, Response>,
): void {
  const { params, request } = call.request;
  const outlet = streamOutlet(call, server, crash);
  const read = ibm ? askedOfIbm : askedFrom;
  const asked = read(params, request?.text, engine.speed.contextLength);
  if (isRefusal(asked)) return outlet.fail(asked);
  const stop = runner.run(runner.idOf(call), asked, true, outlet);
  call.on("cancelled", stop);
}

/** Several prompts at once: all must be fine, and the answer comes when the last one is done. */
function generate(
  runner: Runner,
  { engine, crash, ibm }: TgisServerOptions,
  server: GrpcServer,
  call: ServerUnaryCall<BatchedGenerationRequest, Response>,
  reply: BatchReply,
): void {
  const { params, requests } = call.request;
  const asked: Asked[] = [];
  for (const { text } of requests) {
    const one = (ibm ? askedOfIbm : askedFrom)(params, text, engine.speed.contextLength);
    if (isRefusal(one)) return reply({ code: one.code, details: one.text });
    asked.push(one);
  }
  const responses = asked.map((): Response => ({}));
  const stops: (() => void)[] = [];
  let open = asked.length;
  let failed = false;
  const cut = () => server.cut(call.getPeer());
  const id = runner.idOf(call);
  if (open === 0) return reply(null, { responses });
  for (const [index, one] of asked.entries()) {
    const stop = runner.run(`${id}-${index}`, one, false, {
      send: (response) => {
        responses[index] = response;
      },
      end() {
        open -= 1;
        if (open === 0 && !failed) reply(null, { responses });
      },
      fail({ code, text }) {
        if (failed) return;
        failed = true;
        reply({ code, details: text });
        for (const each of stops) each();
      },
      cut,
      crash,
    });
    stops.push(stop);
  }
  call.on("cancelled", () => {
    for (const stop of stops) stop();
  });
}

function registerQuestions({ grpc }: GrpcServer, contextLength: number): void {
  answerQuestion(grpc, method.modelInfo, () => ({
    modelKind: ModelInfoResponse_ModelKind.DECODER_ONLY,
    maxSequenceLength: contextLength,
    maxNewTokens: contextLength,
  }));
  answerQuestion(grpc, method.tokenize, ({ requests, returnTokens, returnOffsets }) => ({
    responses: requests.map(({ text }) => {
      const pieces = piecesOf(text);
      return {
        tokenCount: pieces.length,
        tokens: returnTokens ? pieces.map(({ piece }) => piece) : [],
        offsets: returnOffsets ? pieces.map(({ start, end }) => ({ start, end })) : [],
      };
    }),
  }));
}
