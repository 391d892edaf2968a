import { describe, expect, test } from "vitest";
import type { Timer } from "../../services/runtime/clock.ts";
import {
  createEngine,
  defaultSpeed,
  type Job,
  type JobSink,
  type Running,
  type Speed,
} from "../../services/simulator/engine.ts";
import { type Fault, faultFrom, faultsFrom } from "../../services/simulator/fault.ts";
import { createPrefixCache } from "../../services/simulator/prefix-cache.ts";
import { createRecorder } from "../../services/simulator/record.ts";
import { SimulatedClock } from "../fakes/simulated-clock.ts";

const speed: Speed = { ...defaultSpeed, slots: 2, prefillMsPerToken: 1, decodeMsPerToken: 10, contextLength: 1_000 };

/** A sink that keeps what it is told, with the time. */
class Told implements JobSink {
  readonly clock: SimulatedClock;
  readonly tokens: { atMs: number; choice: number; bytes: Buffer; last: string | undefined }[] = [];
  steps = 0;
  end: { atMs: number; how: "done" | Fault["kind"] } | undefined;

  constructor(clock: SimulatedClock) {
    this.clock = clock;
  }

  token(...[choice, { bytes }, last]: Parameters<JobSink["token"]>): void {
    expect(this.end).toBeUndefined();
    this.tokens.push({ atMs: this.clock.monotonicMs(), choice, bytes, last });
  }

  step(): void {
    this.steps++;
  }

  done(): void {
    this.#end("done");
  }

  failed(fault: Fault): void {
    this.#end(fault.kind);
  }

  #end(how: "done" | Fault["kind"]): void {
    expect(this.end).toBeUndefined();
    this.end = { atMs: this.clock.monotonicMs(), how };
  }

  get text(): string {
    return Buffer.concat(this.tokens.map(({ bytes }) => bytes)).toString("utf8");
  }

  get timesMs(): number[] {
    return this.tokens.map(({ atMs }) => atMs);
  }
}

/** Timers of a busy machine. */
class LateClock extends SimulatedClock {
  readonly #lateMs: number;

  constructor(lateMs: number) {
    super();
    this.#lateMs = lateMs;
  }

  override setTimer(delayMs: number, fire: () => void): Timer {
    return super.setTimer(delayMs + this.#lateMs, fire);
  }
}

function start(over: Partial<Speed> = {}, clock = new SimulatedClock()) {
  const recorder = createRecorder(() => clock.nowMs());
  const engine = createEngine({ ...speed, ...over }, clock, recorder);
  let ordinal = 0;
  const run = (job: Partial<Job> = {}): { told: Told; running: Running } => {
    const told = new Told(clock);
    const running = engine.run(
      {
        id: `job-${ordinal++}`,
        model: "sim",
        prompt: "x".repeat(80),
        seed: 1n,
        maxTokens: 3,
        minTokens: 0,
        ignoreEos: true,
        choices: 1,
        saying: undefined,
        cacheSalt: "",
        ...job,
      },
      told,
    );
    return { told, running };
  };
  const events = (id: string) =>
    recorder
      .entries()
      .filter((entry) => entry.id === id)
      .map(({ event }) => event);
  return { clock, recorder, engine, run, events };
}

describe("time", () => {
  test("a prompt is prefilled first, then a token comes each step", () => {
    const { clock, run } = start();
    const { told } = run();
    clock.advance(19);
    expect(told.tokens).toHaveLength(0);
    clock.advance(1_000);
    expect(told.timesMs).toEqual([20, 30, 40]);
    expect(told.end).toEqual({ atMs: 40, how: "done" });
    expect(told.tokens.map(({ last }) => last)).toEqual([undefined, undefined, "length"]);
    expect(clock.pendingTimers).toBe(0);
  });

  test("all choices have a token at each step", () => {
    const { clock, run } = start();
    const { told } = run({ choices: 3, maxTokens: 2 });
    clock.advance(1_000);
    expect(told.tokens.map(({ choice }) => choice)).toEqual([0, 1, 2, 0, 1, 2]);
    expect(told.steps).toBe(2);
    expect(new Set(told.timesMs)).toEqual(new Set([20, 30]));
  });

  test("what finds no slot waits for one, in order", () => {
    const { clock, run, engine } = start();
    const jobs = Array.from({ length: 4 }, () => run());
    expect(engine.load()).toMatchObject({ running: 2, waiting: 2 });
    expect(jobs.map(({ running }) => running.waiting)).toEqual([false, false, true, true]);
    clock.advance(1_000);
    expect(jobs.map(({ told }) => told.end?.atMs)).toEqual([40, 40, 80, 80]);
  });

  test("what does not fit the memory waits until it does", () => {
    const { clock, run, engine } = start({ kvTokens: 40 });
    const jobs = [run(), run()];
    expect(engine.load()).toEqual({ running: 1, waiting: 1, kvTokens: 23 });
    clock.advance(1_000);
    expect(jobs.map(({ told }) => told.end?.atMs)).toEqual([40, 80]);
    expect(engine.load()).toEqual({ running: 0, waiting: 0, kvTokens: 0 });
  });

  test("what is larger than the memory runs alone", () => {
    const { clock, run } = start({ kvTokens: 10 });
    const { told } = run();
    clock.advance(1_000);
    expect(told.end?.how).toBe("done");
  });

  test.each([
    { lateMs: 3, timesMs: [23, 33, 43] },
    { lateMs: 35, timesMs: [55, 90, 125] },
  ])("timers that are $lateMs ms late do not add up, and are not made up for in bursts", ({ lateMs, timesMs }) => {
    const { clock, run } = start({}, new LateClock(lateMs));
    const { told } = run();
    clock.advance(1_000);
    expect(told.timesMs).toEqual(timesMs);
  });

  test("a queue that is full refuses", () => {
    const { run, events } = start({ waitingMax: 1 });
    const jobs = Array.from({ length: 4 }, () => run());
    expect(jobs.map(({ told }) => told.end?.how)).toEqual([undefined, undefined, undefined, "reject"]);
    expect(events("job-3")).toEqual(["received", "failed"]);
  });
});

describe("text", () => {
  const textOf = (job: Partial<Job>) => {
    const { clock, run } = start();
    const { told } = run({ maxTokens: 60, ...job });
    clock.advance(10_000);
    return told.text;
  };

  test("follows from prompt and seed", () => {
    expect(textOf({})).toBe(textOf({}));
    expect(textOf({ seed: 2n })).not.toBe(textOf({}));
    expect(textOf({ prompt: "another" })).not.toBe(textOf({}));
  });

  test("differs from choice to choice, and without a seed from request to request", () => {
    const { clock, run } = start();
    const { told } = run({ choices: 2, maxTokens: 20 });
    const unseeded = [run({ seed: undefined, maxTokens: 20 }), run({ seed: undefined, maxTokens: 20 })];
    clock.advance(10_000);
    const of = (choice: number) => told.tokens.filter((token) => token.choice === choice).map(({ bytes }) => bytes);
    expect(Buffer.concat(of(0))).not.toEqual(Buffer.concat(of(1)));
    expect(unseeded[0]?.told.text).not.toBe(unseeded[1]?.told.text);
  });

  test("ends by itself, or not before a least number of tokens", () => {
    const { clock, run } = start();
    const short = run({ ignoreEos: false, maxTokens: 500 });
    const long = run({ ignoreEos: false, maxTokens: 500, minTokens: 300 });
    clock.advance(10_000);
    expect(short.told.tokens.length).toBeLessThan(80);
    expect(short.told.tokens.at(-1)?.last).toBe("stop");
    expect(long.told.tokens.length).toBe(300);
  });

  test("ends after as many tokens as its prompt commands", () => {
    const { clock, run } = start();
    const { told } = run({ prompt: "[[sim length=200]] [[sim drip ms=20]]", ignoreEos: false, maxTokens: 500 });
    clock.advance(10_000);
    expect(told.tokens).toHaveLength(200);
    expect(told.timesMs.at(-1)).toBe(10 + 199 * 20);
  });

  test("never outgrows the context", () => {
    const { clock, run } = start({ contextLength: 30 });
    const { told } = run({ maxTokens: undefined });
    clock.advance(10_000);
    expect(told.tokens).toHaveLength(10);
    expect(told.tokens.at(-1)?.last).toBe("length");
  });

  test("is word for word what it has to be", () => {
    expect(textOf({ saying: '{"city":"Ürümqi 🌊"}' })).toBe('{"city":"Ürümqi 🌊"}');
  });
});

describe("a cancel is recorded", () => {
  test("in the queue, and the job never starts", () => {
    const { clock, run, events, engine } = start({ slots: 1 });
    run();
    const { running, told } = run();
    running.cancel();
    clock.advance(1_000);
    expect(events("job-1")).toEqual(["received", "cancelled"]);
    expect(told).toMatchObject({ tokens: [], end: undefined });
    expect(engine.load()).toMatchObject({ running: 0, waiting: 0 });
  });

  test("in prefill, and the slot is free at once", () => {
    const { clock, run, events, engine } = start({ slots: 1 });
    const { running } = run();
    clock.advance(5);
    run();
    running.cancel();
    expect(events("job-0")).toEqual(["received", "started", "cancelled"]);
    expect(engine.load()).toMatchObject({ running: 1, waiting: 0 });
  });

  test("in decode, with the tokens so far", () => {
    const { clock, run, recorder } = start();
    const { running, told } = run({ maxTokens: 100 });
    clock.advance(45);
    running.cancel();
    running.cancel();
    clock.advance(1_000);
    expect(told.tokens).toHaveLength(3);
    expect(recorder.entries().at(-1)).toMatchObject({ event: "cancelled", tokens: 3 });
    expect(clock.pendingTimers).toBe(0);
  });

  test("and not after the end", () => {
    const { clock, run, events } = start();
    const { running } = run();
    clock.advance(1_000);
    running.cancel();
    expect(events("job-0")).toEqual(["received", "started", "produced", "finished"]);
  });
});

describe("a fault", () => {
  const cases: { command: string; tokens: number; end: string | undefined; timesMs?: number[] }[] = [
    { command: "[[sim cut after=2]]", tokens: 2, end: "cut" },
    { command: "[[sim early_end after=1]]", tokens: 1, end: "early_end" },
    { command: "[[sim error]]", tokens: 0, end: "error" },
    { command: "[[sim crash after=3]]", tokens: 3, end: "crash" },
    { command: "[[sim reject]]", tokens: 0, end: "reject" },
    { command: "[[sim hang after=2]]", tokens: 2, end: undefined },
    { command: "[[sim delay after=1 ms=500]]", tokens: 4, end: "done", timesMs: [20, 530, 540, 550] },
    { command: "[[sim drip after=2 ms=100]]", tokens: 4, end: "done", timesMs: [20, 30, 130, 230] },
    { command: "[[sim nonsense]]", tokens: 4, end: "done" },
  ];

  test.each(cases)("$command: $tokens tokens, then $end", ({ command, tokens, end, timesMs }) => {
    const { clock, run } = start();
    const { told } = run({ prompt: command.padEnd(80), maxTokens: 4 });
    clock.advance(10_000);
    expect(told.tokens).toHaveLength(tokens);
    expect(told.end?.how).toBe(end);
    expect(told.timesMs).toEqual(timesMs ?? told.timesMs);
  });

  test("that was commanded comes before that of a prompt, once", () => {
    const { clock, run, engine, recorder } = start();
    engine.commanded.push({ kind: "error", after: 1, ms: 0 });
    const first = run({ prompt: "[[sim reject]]" });
    const second = run({ prompt: "[[sim reject]]" });
    clock.advance(1_000);
    expect([first.told.end?.how, second.told.end?.how]).toEqual(["error", "reject"]);
    expect(recorder.entries().find(({ fault }) => fault === "error")).toMatchObject({ id: "job-0", tokens: 1 });
  });

  test("hang keeps its slot until it is cancelled", () => {
    const { clock, run, engine } = start({ slots: 1 });
    const { running } = run({ prompt: "[[sim hang after=1]]" });
    const next = run();
    clock.advance(10_000);
    expect(engine.load()).toMatchObject({ running: 1, waiting: 1 });
    running.cancel();
    clock.advance(1_000);
    expect(next.told.end?.how).toBe("done");
  });

  test("a crash takes everything along, silently", () => {
    const { clock, run, engine, recorder } = start({ slots: 1 });
    const jobs = [run(), run()];
    engine.halt("crash");
    clock.advance(1_000);
    expect(jobs.map(({ told }) => told.end)).toEqual([undefined, undefined]);
    expect(recorder.entries().filter(({ fault }) => fault === "crash")).toHaveLength(2);
    expect(clock.pendingTimers).toBe(0);
  });

  test("is read from JSON, or not at all", () => {
    expect(faultsFrom({ kind: "cut" })).toEqual([{ kind: "cut", after: 0, ms: 1_000 }]);
    expect(faultsFrom([{ kind: "drip", after: 2, ms: 5 }])).toEqual([{ kind: "drip", after: 2, ms: 5 }]);
    for (const nonsense of [null, "cut", { kind: "melt" }, { kind: "cut", after: "3" }, [{ kind: "cut" }, 7]])
      expect(faultsFrom(nonsense)).toBeUndefined();
    expect(faultFrom("say [[sim delay ms=20 after=3]] please")).toEqual({ kind: "delay", after: 3, ms: 20 });
    expect(faultFrom("no command")).toBeUndefined();
  });
});

describe("the prefix cache", () => {
  const beginning = "b".repeat(1_024);

  test("spares the prefill of whole blocks that were there before", () => {
    const { clock, run } = start({ contextLength: 4_000 });
    const first = run({ prompt: `${beginning}one` });
    clock.advance(1_000);
    const second = run({ prompt: `${beginning}two` });
    clock.advance(1_000);
    expect([first.running.cachedTokens, second.running.cachedTokens]).toEqual([0, 256]);
    expect(first.told.timesMs[0]).toBe(257);
    expect(second.told.timesMs[0]).toBe(1_001);
  });

  test("never spares the last token, and keeps salts apart", () => {
    const cache = createPrefixCache(100);
    expect(cache.use(beginning, "")).toBe(0);
    expect(cache.use(beginning, "")).toBe(128);
    expect(cache.use(`${beginning}.`, "")).toBe(128);
    expect(cache.use(`${beginning}.`, "")).toBe(256);
    expect(cache.use(`${beginning}.`, "salt")).toBe(0);
    expect(cache.use(`x${beginning}`, "")).toBe(0);
  });

  test("forgets what was not used for longest", () => {
    const cache = createPrefixCache(2);
    const prompt = (letter: string) => letter.repeat(513);
    for (const letter of ["a", "b", "a", "c"]) cache.use(prompt(letter), "");
    expect(cache.use(prompt("b"), "")).toBe(0);
    expect(cache.use(prompt("c"), "")).toBe(128);
  });
});
