import { create, type MessageInitShape } from "@bufbuild/protobuf";
import type { ReplicaModel } from "../../gen/ts/weir/catalog/v1/replica_pb.ts";
import { ErrorReason } from "../../gen/ts/weir/error/v1/error_pb.ts";
import { type Delta, FinishReason, type Usage } from "../../gen/ts/weir/router/v1/event_pb.ts";
import { GenerateRequestSchema, type GenerateResponse } from "../../gen/ts/weir/router/v1/inference_service_pb.ts";
import type { Attempt, AttemptSink, Driver, Target } from "../../services/drivers/driver.ts";
import { systemClock } from "../../services/runtime/clock.ts";
import { fail, type WeirError } from "../../services/runtime/errors/fail.ts";
import { systemIds } from "../../services/runtime/ids.ts";
import type { Cancel } from "../../services/runtime/mesh/push.ts";

/** A target that bears as much as tests need. */
export function targetAt(url: string, more: Partial<Target> = {}): Target {
  return {
    url,
    httpUrl: undefined,
    engineKey: undefined,
    engineKeyHeader: undefined,
    receiveBytesMax: 32 * 1024 * 1024,
    firstEventMs: 20_000,
    idleMs: 20_000,
    toolIdleMs: 60_000,
    totalMs: 120_000,
    clock: systemClock,
    ...more,
  };
}

type RequestInit = Omit<MessageInitShape<typeof GenerateRequestSchema>, "$typeName">;

/** An attempt at a model; the request streams and asks "hello" unless it says otherwise. */
export function attemptAt(model: ReplicaModel, request: RequestInit = {}, more: Partial<Attempt> = {}): Attempt {
  return {
    id: systemIds.uuidv7(),
    request: create(GenerateRequestSchema, {
      model: "caller-model",
      input: { case: "prompt", value: "hello" },
      stream: true,
      ...request,
    }),
    model,
    prompt: undefined,
    maxTokens: 16,
    extras: {},
    cacheSalt: "",
    ...more,
  };
}

/** What a driver told of one attempt. */
export class Outcome implements AttemptSink {
  readonly events: GenerateResponse[] = [];
  failure: WeirError | undefined;
  ended = false;
  turns = 0;
  /** Calls after the end or after a cancel: there must be none. */
  late = 0;
  /** While true the consumer says that it is full. */
  isFull = false;
  resume: (() => void) | undefined;
  cancelled = false;
  /** When what the engine does for nobody is over. */
  readonly lingering: Promise<void>[] = [];
  readonly done: Promise<void>;
  #settle: () => void = () => undefined;
  #onEvent: (() => void)[] = [];

  constructor() {
    this.done = new Promise((resolve) => {
      this.#settle = resolve;
    });
  }

  get #over(): boolean {
    return this.ended || this.failure !== undefined || this.cancelled;
  }

  event(message: GenerateResponse): void {
    if (this.#over) this.late += 1;
    this.events.push(message);
    for (const run of this.#onEvent.splice(0)) run();
  }

  turn(): void {
    if (this.#over) this.late += 1;
    this.turns += 1;
  }

  lingers(over: Promise<void>): void {
    this.lingering.push(over);
  }

  end(): void {
    if (this.#over) this.late += 1;
    this.ended = true;
    this.#settle();
  }

  fail(error: WeirError): void {
    if (this.#over) this.late += 1;
    this.failure = error;
    this.#settle();
  }

  full(): boolean {
    return this.isFull;
  }

  /** Resolves once `holds` does. */
  async until(holds: () => boolean): Promise<void> {
    while (!holds()) {
      if (this.#over) throw new Error(`it was over first: ${this.summary()}`);
      await Promise.race([this.done, new Promise<void>((resolve) => this.#onEvent.push(resolve))]);
    }
  }

  get deltas(): Delta[] {
    return this.events.flatMap(({ event }) => (event.case === "delta" ? [event.value] : []));
  }

  text(choice = 0, kind: Delta["fragment"]["case"] = "text"): string {
    return this.deltas
      .filter((delta) => delta.choice === choice && delta.fragment.case === kind)
      .map((delta) => (typeof delta.fragment.value === "string" ? delta.fragment.value : ""))
      .join("");
  }

  /** The tokens that the deltas of a choice hold. */
  tokens(choice = 0): number {
    return this.deltas.filter((delta) => delta.choice === choice).reduce((sum, delta) => sum + delta.tokens, 0);
  }

  finish(choice = 0): string | undefined {
    const finished = this.events.flatMap(({ event }) => (event.case === "finished" ? [event.value] : []));
    return nameOf(FinishReason, finished.find((value) => value.choice === choice)?.reason);
  }

  get usage(): Usage | undefined {
    return this.events.flatMap(({ event }) => (event.case === "usage" ? [event.value] : []))[0];
  }

  get reason(): string | undefined {
    return nameOf(ErrorReason, this.failure?.reason);
  }

  /** The kinds of the events in order, repeated ones once. */
  get order(): string[] {
    const kinds = this.events.map(({ event }) => event.case ?? "none");
    return kinds.filter((kind, index) => kind !== kinds[index - 1]);
  }

  summary(): string {
    return JSON.stringify({ text: this.text(), order: this.order, reason: this.reason, ended: this.ended });
  }
}

function nameOf(values: Readonly<Record<string, number>>, value: number | undefined): string | undefined {
  return Object.entries(values).find(([, candidate]) => candidate === value)?.[0];
}

/** An attempt that runs. */
export interface Running {
  readonly outcome: Outcome;
  cancel(): void;
}

/** Starts an attempt. */
export function start(driver: Driver, attempt: Attempt, outcome = new Outcome()): Running {
  const cancel: Cancel = driver.generate(attempt, outcome);
  return {
    outcome,
    cancel() {
      cancel(fail(ErrorReason.CANCELLED));
      outcome.cancelled = true;
    },
  };
}

/** Runs an attempt to its end. */
export async function run(driver: Driver, attempt: Attempt): Promise<Outcome> {
  const { outcome } = start(driver, attempt);
  await outcome.done;
  // What a driver says too late, it says soon.
  await new Promise((resolve) => setImmediate(resolve));
  return outcome;
}
