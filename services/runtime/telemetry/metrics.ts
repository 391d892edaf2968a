import { Counter, Registry } from "prom-client";
import type { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import { type CountSource, CountSourceSchema } from "../../../gen/ts/weir/router/v1/event_pb.ts";
import { reasonName } from "../errors/reason-name.ts";
import { addGrantSeries } from "./grant-series.ts";
import { addJournalSeries, type JournalState } from "./journal-series.ts";
import { addQuotaSeries, type QuotaCounts, type QuotaState } from "./quota-series.ts";
import { Histogram, type Level, Levels } from "./series.ts";

/** The doors that requests come through. */
export type Endpoint =
  | "chat_completions"
  | "completions"
  | "embeddings"
  | "models"
  // Of the contract, or of the edge.
  | "rerank"
  | "generate"
  | "embed"
  | "count_tokens";

/** How a request ended: well, or for a reason. */
export type Outcome = "ok" | ErrorReason;

/** What tokens were. `cached` is a part of `prompt`, and `reasoning` one of `completion`. */
export type TokenKind = "prompt" | "completion" | "cached" | "reasoning";

/** Why a usage record was set aside. */
export type SetAsideReason = "malformed" | "counts" | "too_old" | "future";

/**
 * What a process counts, for Prometheus. Every label is from a closed set: a model that does not exist is "other", so
 * that no caller can make series. Times are given in milliseconds, and exported in seconds.
 */
export interface Metrics {
  /** A request is over. `model` is undefined where none was named. */
  request(
    labels: { readonly endpoint: Endpoint; readonly model: string | undefined; readonly outcome: Outcome },
    durationMs: number,
  ): void;
  /** Time from the request's first byte in to its first token out. */
  timeToFirstToken(labels: { readonly endpoint: Endpoint; readonly model: string }, durationMs: number): void;
  /** Tokens of a request, with where the count comes from. */
  tokens(
    labels: { readonly model: string; readonly kind: TokenKind; readonly source: CountSource },
    count: number,
  ): void;
  /** A request of a model runs until the returned function is called; calling that twice does nothing. */
  inFlight(model: string): () => void;
  /** A request waits for a place at a replica until the returned function is called. */
  queued(model: string): () => void;
  /** A usage record could not be counted. Whoever operates the installation wants to know of the first one. */
  usageSetAside(reason: SetAsideReason): void;
  /** A router has a usage journal: once a process. */
  journal(read: () => JournalState): void;
  /** A router checks limits: once a process. */
  grants(read: () => Readonly<Record<string, number>>): void;
  /** This process counts by limits: once a process. */
  quota(state: QuotaState): QuotaCounts;
  /** An RPC is over, on whatever transport. Both names are closed sets: methods that are served, and codes. */
  rpc(method: string, code: string, durationMs: number): void;
  /** The models that exist from now on; others are counted as "other". */
  models(ids: Iterable<string>): void;
  /** Everything in Prometheus' text format. */
  text(): Promise<string>;
  /** The content type of {@link text}. */
  readonly contentType: string;
}

/** Seconds. From a cached answer to the longest generation. */
const durationBuckets = [0.005, 0.025, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800];
/** Seconds. An RPC within the installation takes well under a millisecond, a generation up to an hour. */
const rpcBuckets = [0.0005, 0.002, 0.01, 0.05, 0.25, 1, 5, 30, 300];
/** Seconds. Where people feel the difference. */
const firstTokenBuckets = [0.01, 0.025, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1, 2, 5, 10, 30];
/** Model names that get series of their own: about 100 series each. */
const modelsMax = 500;

/** Builds the metrics of a process. */
export function createMetrics(): Metrics {
  const registry = new Registry();
  const registers = [registry];
  let known: ReadonlySet<string> = new Set();
  const modelLabel = (model: string) => (known.has(model) ? model : "other");

  const requests = new Levels("counter", {
    name: "weir_requests_total",
    help: "Requests that are over, by how they ended.",
    labels: ["endpoint", "model", "outcome"],
  });
  const duration = new Histogram(durationBuckets, {
    name: "weir_request_duration_seconds",
    help: "From a request's first byte in to its answer's last byte out.",
    labels: ["endpoint", "model"],
  });
  const firstToken = new Histogram(firstTokenBuckets, {
    name: "weir_time_to_first_token_seconds",
    help: "From a request's first byte in to its first token out.",
    labels: ["endpoint", "model"],
  });
  const tokens = new Levels("counter", {
    name: "weir_tokens_total",
    help: "Tokens, by what they were and where the count comes from.",
    labels: ["model", "kind", "source"],
  });
  const inFlight = new Levels("gauge", {
    name: "weir_requests_in_flight",
    help: "Requests that run now.",
    labels: ["model"],
  });
  const queued = new Levels("gauge", {
    name: "weir_requests_queued",
    help: "Requests that wait now for a place at a replica.",
    labels: ["model"],
  });
  const rpcs = new Levels("counter", {
    name: "weir_rpc_total",
    help: "RPCs that are over, by their code.",
    labels: ["method", "code"],
  });
  const rpcDuration = new Histogram(rpcBuckets, {
    name: "weir_rpc_duration_seconds",
    help: "From an RPC's admission to its end.",
    labels: ["method"],
  });
  const ours = [requests, duration, firstToken, tokens, inFlight, queued, rpcs, rpcDuration];
  const setAside = new Counter({
    name: "weir_usage_set_aside_total",
    help: "Usage records that could not be counted: they are in usage.quarantine.",
    labelNames: ["reason"],
    registers,
  });

  return {
    request({ endpoint, model, outcome }, durationMs) {
      const name = model === undefined ? "none" : modelLabel(model);
      requests.of(endpoint, name, outcomeLabel(outcome)).value += 1;
      duration.observe(durationMs, endpoint, name);
    },
    timeToFirstToken({ endpoint, model }, durationMs) {
      firstToken.observe(durationMs, endpoint, modelLabel(model));
    },
    tokens({ model, kind, source }, count) {
      if (count > 0) tokens.of(modelLabel(model), kind, sourceLabel(source)).value += count;
    },
    inFlight: (model) => heldBy(inFlight.of(modelLabel(model))),
    queued: (model) => heldBy(queued.of(modelLabel(model))),
    usageSetAside: (reason) => setAside.inc({ reason }),
    journal: (read) => addJournalSeries(registry, read),
    quota: (state) => addQuotaSeries(registry, state),
    grants: (read) => addGrantSeries(registry, read),
    rpc(method, code, durationMs) {
      rpcs.of(method, code).value += 1;
      rpcDuration.observe(durationMs, method);
    },
    models(ids) {
      known = new Set([...ids].slice(0, modelsMax));
    },
    text: async () => `${await registry.metrics()}\n${ours.map((one) => one.text()).join("")}`,
    contentType: registry.contentType,
  };
}

const sourceLabels = new Map(
  CountSourceSchema.values.map(({ number, localName }) => [number, localName.toLowerCase()]),
);

function sourceLabel(source: CountSource): string {
  return sourceLabels.get(source) ?? "unspecified";
}

function outcomeLabel(outcome: Outcome): string {
  return outcome === "ok" ? outcome : reasonName(outcome).toLowerCase();
}

// The series is fixed at the start: a model that is withdrawn meanwhile must not leave its gauge raised.
function heldBy(level: Level): () => void {
  let held = true;
  level.value += 1;
  return () => {
    if (held) level.value -= 1;
    held = false;
  };
}
