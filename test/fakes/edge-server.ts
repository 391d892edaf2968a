import { createServer as createHttp1, type Server } from "node:http";
import { createServer as createHttp2 } from "node:http2";
import type { AddressInfo } from "node:net";
import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { type Logger, pino } from "pino";
import { type Principal, PrincipalSchema } from "../../gen/ts/weir/auth/v1/principal_pb.ts";
import { ErrorReason } from "../../gen/ts/weir/error/v1/error_pb.ts";
import { CallableModelSchema } from "../../gen/ts/weir/router/v1/model_pb.ts";
import { createEdgeApp } from "../../services/edge/app.ts";
import type { Inference } from "../../services/edge/edge.ts";
import { type Clock, systemClock } from "../../services/runtime/clock.ts";
import type { HttpSettings } from "../../services/runtime/config/settings.ts";
import { fail, type WeirError } from "../../services/runtime/errors/fail.ts";
import { systemIds } from "../../services/runtime/ids.ts";
import type { HttpRequest, HttpResponse } from "../../services/runtime/server/app.ts";
import { createClientAddress } from "../../services/runtime/server/client-address.ts";
import { createMetrics } from "../../services/runtime/telemetry/metrics.ts";
import { obliging, type Script, type ScriptedCall } from "./scripted-model.ts";

/** Keys that the fake identity knows, and what each gets. */
export const keys = {
  good: "weir_good",
  revoked: "weir_revoked",
  expired: "weir_expired",
  /** Good, and looked up: the answer is a promise. */
  cold: "weir_cold",
  /** Cannot be checked. */
  unchecked: "weir_unchecked",
} as const;

export const models = ["weir-sim", "meta/llama-3:8b"];

export interface EdgeServerOptions {
  readonly http?: Partial<HttpSettings>;
  readonly clock?: Clock;
  readonly script?: Script;
  readonly protocol?: "http1" | "http2";
}

/** The edge alone on a port of its own: keys and model are scripted, everything between is real. */
export interface EdgeServer extends AsyncDisposable {
  readonly port: number;
  readonly url: string;
  /** Every generation that was asked for, oldest first. */
  readonly calls: ScriptedCall[];
  /** Replaces what generations say. */
  script: Script;
  /** What embeddings and rankings say. */
  unary: Partial<UnaryInference>;
  /** Lines that were logged. */
  readonly logged: string[];
  /** What was counted, in Prometheus' text form. */
  counted(): Promise<string>;
}

const httpDefaults: HttpSettings = {
  bodyBytesMax: 8 * 1024 * 1024,
  connectionsPerAddressMax: 1024,
  trustedProxies: [],
  headersTimeoutMs: 10_000,
  requestTimeoutMs: 30_000,
  slowReaderTimeoutMs: 30_000,
  keepaliveIntervalMs: 15_000,
  strict: false,
  badKeysPerMinuteMax: 600,
  acceptAfterMs: 10_000,
};

type UnaryInference = Pick<Inference, "embed" | "rerank">;

const notScripted = () => Promise.reject(fail(ErrorReason.INTERNAL));

export async function startEdge(options: EdgeServerOptions = {}): Promise<EdgeServer> {
  const calls: ScriptedCall[] = [];
  const logged: string[] = [];
  const state: { script: Script; unary: Partial<UnaryInference> } = { script: options.script ?? obliging, unary: {} };
  const log: Logger = pino({ level: "debug" }, { write: (line: string) => void logged.push(line) });
  const metrics = createMetrics();
  metrics.models(models);
  const app = createEdgeApp({
    http: { ...httpDefaults, ...options.http },
    clock: options.clock ?? systemClock,
    ids: systemIds,
    log,
    metrics,
    identity: { authenticate },
    clientAddress: createClientAddress([]),
    inference: {
      generate(request, callOptions, sink) {
        const call: ScriptedCall = { request, options: callOptions, sink, cancelled: undefined };
        calls.push(call);
        state.script(call);
        return (reason) => {
          call.cancelled ??= { reason, atMs: performance.now() };
        };
      },
      embed: (request, callOptions) => (state.unary.embed ?? notScripted)(request, callOptions),
      rerank: (request, callOptions) => (state.unary.rerank ?? notScripted)(request, callOptions),
      listModels: () => Promise.resolve(models.map(model)),
      getModel: (id) =>
        models.includes(id)
          ? Promise.resolve(model(id))
          : Promise.reject(fail(ErrorReason.MODEL_NOT_FOUND, { model: id })),
    },
  });
  const handle = (request: HttpRequest, response: HttpResponse) => {
    if (!app.handle(request, response)) (response as { statusCode: number; end(): void }).statusCode = 404;
    if (!response.headersSent && response.statusCode === 404) (response as { end(): void }).end();
  };
  const server = options.protocol === "http2" ? createHttp2({}, handle) : createHttp1({ noDelay: true }, handle);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return {
    port,
    url: `http://127.0.0.1:${port}`,
    calls,
    logged,
    counted: () => metrics.text(),
    get script() {
      return state.script;
    },
    set script(script) {
      state.script = script;
    },
    get unary() {
      return state.unary;
    },
    set unary(unary) {
      state.unary = unary;
    },
    async [Symbol.asyncDispose]() {
      const closed = new Promise((resolve) => server.close(resolve));
      if ("closeAllConnections" in server) (server as Server).closeAllConnections();
      await closed;
    },
  };
}

const principal: Principal = Object.freeze(
  create(PrincipalSchema, { keyId: "k1", orgId: "o1", projectId: "p1", permissions: ["*"], models: { all: true } }),
);

function authenticate(credential: string): Principal | WeirError | Promise<Principal | WeirError> {
  switch (credential) {
    case keys.good:
      return principal;
    case keys.cold:
      return new Promise((resolve) => setImmediate(resolve, principal));
    case keys.revoked:
      return fail(ErrorReason.KEY_REVOKED, { key_id: "k2" });
    case keys.expired:
      return fail(ErrorReason.KEY_EXPIRED, { key_id: "k3", expire_time: "2026-01-01T00:00:00Z" });
    case keys.unchecked:
      return fail(ErrorReason.AUTH_UNAVAILABLE, { retry_after_ms: "1500" }, { retryAfterMs: 1500 });
    default:
      return fail(ErrorReason.CREDENTIAL_INVALID);
  }
}

function model(id: string) {
  return create(CallableModelSchema, {
    id,
    ownedBy: "weir",
    createTime: timestampFromMs(Date.UTC(2026, 0, 1)),
    contextLength: 8192n,
  });
}
