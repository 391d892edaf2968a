import { afterAll, beforeAll, expect, test } from "vitest";
import { Dimension, OnFailure } from "../../gen/ts/weir/quota/v1/limit_pb.ts";
import { EndReason } from "../../gen/ts/weir/usage/v1/usage_record_pb.ts";
import { type Installation, startInstallation } from "../fakes/installation.ts";
import { settledLedger } from "../fakes/ledger.ts";
import { askGateway, become, type LimitedKey, limitedKey, limitStatus, together } from "../fakes/limited-keys.ts";
import { eventsOf, RawRequest } from "../fakes/raw-request.ts";
import { RecordTail } from "../fakes/record-tail.ts";
import { type SimulatorProcess, startSimulatorProcess } from "../fakes/simulator-process.ts";
import { eventually } from "../rpc/eventually.ts";

/** Requests a day that each key may make, in all. */
const limit = 48;
/** A node that is told of another one is lent at most a quarter of what is left, divided by both. */
const leasedMax = limit / 4;
const gateways = 2;
/** How often each key asks each gateway. */
const everyMs = 80;
/** How long the control plane is away; `AWAY_SECONDS=60` for the long form. */
const awayMs = Number(process.env["AWAY_SECONDS"] ?? 4) * 1_000;
/** Closed limits are not drawn from after 2 s without a word; a second for a busy machine. */
const blindAfterMs = 3_000;

/** Engines are told a request's id, and which try it is. */
const uuidLength = 36;

interface Answer {
  readonly of: Policy;
  readonly gateway: number;
  readonly status: number;
  readonly code: string | undefined;
  readonly retryAfter: string | null;
  readonly requestId: string;
  readonly sentMs: number;
  readonly answeredMs: number;
}

const policies = ["closed", "local", "open"] as const;
type Policy = (typeof policies)[number];

const onFailure: Readonly<Record<Policy, OnFailure>> = {
  closed: OnFailure.CLOSED,
  local: OnFailure.LOCAL,
  open: OnFailure.OPEN,
};

let engine: SimulatorProcess;
let tail: RecordTail;
let weir: Installation;
let urls: readonly string[];
/** Answers of all tests: the ledger has those that were admitted, and no others. */
const all: Answer[] = [];

beforeAll(async () => {
  engine = await startSimulatorProcess(["--decode-ms", "0", "--prefill-ms", "0"]);
  tail = new RecordTail(engine.recordPath);
  weir = await startInstallation("two processes", {
    yaml: `pools: [{ id: sim, replicas: [{ url: "${engine.httpUrl}" }] }]\nmodels: [{ id: sim, pool: sim, engine_model: weir-sim }]`,
  });
  urls = [weir.gateway.url, (await weir.addGateway()).url];
}, 120_000);

afterAll(async () => {
  await weir?.[Symbol.asyncDispose]();
  tail?.[Symbol.dispose]();
  await engine?.[Symbol.asyncDispose]();
});

type Keys = Readonly<Record<Policy, LimitedKey>>;

async function ask(keys: Keys, of: Policy, gateway: number): Promise<Answer> {
  const sentMs = performance.now();
  const { status, headers, body } = await askGateway(urls[gateway] ?? "", keys[of].secret, { model: "sim" });
  const answer = {
    of,
    gateway,
    status,
    code: body.error?.code,
    retryAfter: headers.get("retry-after"),
    requestId: headers.get("x-request-id") ?? "",
    sentMs,
    answeredMs: performance.now(),
  };
  all.push(answer);
  return answer;
}

/** Every key asks every gateway again and again, whatever becomes of it. */
class Trickle implements Disposable {
  readonly answers: Answer[] = [];
  /** What had no answer at all. */
  readonly #failures: unknown[] = [];
  readonly #keys: Keys;
  readonly #asked = new Set<Promise<void>>();
  readonly #timer: NodeJS.Timeout;

  constructor(keys: Keys) {
    this.#keys = keys;
    this.#timer = setInterval(() => this.#round(), everyMs);
  }

  #round(): void {
    for (const of of policies) {
      for (let gateway = 0; gateway < gateways; gateway++) {
        const asked = ask(this.#keys, of, gateway)
          .then(
            (answer) => this.answers.push(answer),
            (error: unknown) => this.#failures.push(error),
          )
          .then(() => void this.#asked.delete(asked));
        this.#asked.add(asked);
      }
    }
  }

  /** Ends it, when everything is answered. */
  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await Promise.all(this.#asked);
    expect(this.#failures).toEqual([]);
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }
}

const passed = (answers: readonly Answer[]) => answers.filter(({ status }) => status === 200).length;
const ofPolicy = (answers: readonly Answer[], of: Policy) => answers.filter((answer) => answer.of === of);

interface Fault {
  readonly how: string;
  readonly strike: () => void | Promise<unknown>;
  readonly heal: () => void | Promise<unknown>;
  /** The process that counts is another one afterwards: its windows start anew. */
  readonly forgets: boolean;
}

const faults: readonly Fault[] = [
  {
    how: "stopped",
    strike: () => weir.control.kill("SIGSTOP"),
    heal: () => weir.control.kill("SIGCONT"),
    forgets: false,
  },
  { how: "cut off", strike: () => weir.mesh.cut(), heal: () => weir.mesh.open(), forgets: false },
  {
    how: "killed",
    strike: () => {
      weir.control.kill("SIGKILL");
      return weir.control.exited;
    },
    heal: () => weir.restartControl(),
    forgets: true,
  },
];

/** A key a policy, each with such a limit, known to both gateways. */
async function makeKeys(): Promise<Keys> {
  const [closed, local, open] = await Promise.all(
    policies.map((of) =>
      limitedKey(weir, {
        dimension: Dimension.REQUESTS,
        ceiling: { case: "count", value: BigInt(limit) },
        window: { case: "rate", value: { per: { seconds: 86_400n } } },
        onFailure: onFailure[of],
      }),
    ),
  );
  if (!closed || !local || !open) throw new Error("a key is missing");
  const keys = { closed, local, open };
  for (let at = 0; at < 5 * gateways; at++) {
    for (const of of policies) expect((await ask(keys, of, at % gateways)).status).toBe(200);
  }
  return keys;
}

/** What callers saw while nothing could be checked. */
function expectEachByItsPolicy(away: readonly Answer[], struckMs: number): void {
  for (const { status, code, retryAfter } of away.filter((answer) => answer.status !== 200)) {
    expect({ status, code, retryAfter }).toEqual({ status: 503, code: "store_unavailable", retryAfter: "1" });
  }
  const closed = ofPolicy(away, "closed");
  const blind = closed.filter(({ sentMs }) => sentMs > struckMs + blindAfterMs);
  expect(blind.length).toBeGreaterThan(0);
  expect(passed(blind)).toBe(0);
  expect(passed(closed)).toBeLessThanOrEqual(leasedMax);

  const local = ofPolicy(away, "local");
  for (let gateway = 0; gateway < gateways; gateway++) {
    const here = local.filter((answer) => answer.gateway === gateway);
    expect(passed(here)).toBeGreaterThanOrEqual(Math.min(limit / gateways, here.length));
  }
  expect(passed(local)).toBeLessThanOrEqual(limit + leasedMax);

  const open = ofPolicy(away, "open");
  expect(open.length).toBeGreaterThan(limit);
  expect(passed(open)).toBe(open.length);
}

test.each(faults)(
  "the process that counts is $how: each limit goes by its on_failure, then is exact again",
  async ({ strike, heal, forgets }) => {
    const from = all.length;
    const keys = await makeKeys();
    using trickle = new Trickle(keys);
    await eventually("it trickles", () => trickle.answers.length >= 12, 10_000);
    const struckMs = performance.now();
    await strike();
    await new Promise((resolve) => setTimeout(resolve, awayMs));
    const healedMs = performance.now();
    await heal();
    const backMs = performance.now();
    const checked = (of: Policy, at: number) =>
      trickle.answers.some((one) => one.of === of && one.gateway === at && one.sentMs > backMs && one.status !== 503);
    await eventually("all are checked again", () => policies.every((of) => checked(of, 0) && checked(of, 1)), 10_000);
    await trickle.stop();
    expectEachByItsPolicy(
      trickle.answers.filter(({ sentMs, answeredMs }) => sentMs >= struckMs && answeredMs < healedMs),
      struckMs,
    );

    for (const of of policies) {
      const status = () => limitStatus(weir, keys[of]);
      const before = passed(ofPolicy(all.slice(from), of));
      // What a process that is gone had counted is gone with it, and so is what was drawn from its leases.
      const keptFromMs = of === "closed" ? healedMs : struckMs;
      const kept = ofPolicy(trickle.answers, of).filter(({ answeredMs }) => answeredMs > keptFromMs);
      const least = (forgets ? passed(kept) : before) - leasedMax;
      await become(`what passed ${of} is counted`, async () => Number((await status()).used) >= least);
      const { used, leased } = await status();
      const more = await together(limit + 10, (i) => ask(keys, of, i % gateways));
      for (const { status: told, code } of more.filter((answer) => answer.status !== 200)) {
        expect({ told, code }).toEqual({ told: 429, code: "rate_limit_exceeded" });
      }
      expect(passed(more)).toBeLessThanOrEqual(Math.max(limit - Number(used), Number(leased)));
      await become(`all of ${of} is used`, async () => (await status()).remaining <= 0n);
      if (forgets) continue;
      const total = before + passed(more);
      expect(total).toBeGreaterThanOrEqual(limit);
      await become(`each of ${of} is counted once`, async () => Number((await status()).used) === total);
    }

    const admitted = all.filter(({ status }) => status === 200).map(({ requestId }) => requestId);
    const ledger = await settledLedger(weir.control.url, weir.key, admitted.length);
    expect([...ledger.keys()].toSorted()).toEqual(admitted.toSorted());
    for (const { endReason } of ledger.values()) expect(endReason).toBe(EndReason.COMPLETED);
    const heard = tail.read().map(({ id }) => id.slice(0, uuidLength));
    expect(heard.toSorted()).toEqual(admitted.toSorted());
  },
  120_000,
);

test("the process that counts is killed while requests run: they keep their places", async () => {
  const key = await limitedKey(weir, {
    dimension: Dimension.CONCURRENT_REQUESTS,
    ceiling: { case: "count", value: 2n },
  });
  const streams = [0, 1].map(
    (at) =>
      new RawRequest({
        port: Number(new URL(urls[at] ?? "").port),
        key: key.secret,
        path: "/v1/completions",
        body: { model: "sim", prompt: "[[sim drip after=1 ms=60000]]", max_tokens: 8, stream: true },
      }),
  );
  await eventually("both run", () => streams.every((one) => eventsOf(one.text).chunks.length > 0), 10_000);
  weir.control.kill("SIGKILL");
  await weir.control.exited;
  await weir.restartControl();
  await become("the new process knows of both", async () => (await limitStatus(weir, key)).reserved === 2n);
  expect((await askGateway(urls[0] ?? "", key.secret, { model: "sim" })).status).toBe(429);
  for (const stream of streams) stream.leave();
  await become("their places are free", async () => (await limitStatus(weir, key)).remaining === 2n);
  expect((await askGateway(urls[1] ?? "", key.secret, { model: "sim" })).status).toBe(200);
}, 60_000);
