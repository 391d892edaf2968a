import { afterAll, beforeAll, expect, test } from "vitest";
import { Dimension, OnFailure } from "../../gen/ts/weir/quota/v1/limit_pb.ts";
import { EndReason } from "../../gen/ts/weir/usage/v1/usage_record_pb.ts";
import { type Installation, startInstallation } from "../fakes/installation.ts";
import { settledLedger } from "../fakes/ledger.ts";
import { askGateway, become, type LimitedKey, limitedKey, limitStatus } from "../fakes/limited-keys.ts";
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
class Trickle {
  readonly answers: Answer[] = [];
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
        const asked = ask(this.#keys, of, gateway).then((answer) => {
          this.answers.push(answer);
          this.#asked.delete(asked);
        });
        this.#asked.add(asked);
      }
    }
  }

  /** Ends it, when everything is answered. */
  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await Promise.all(this.#asked);
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
  { how: "met with silence", strike: () => weir.mesh.silence(), heal: () => weir.mesh.open(), forgets: false },
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

test.each(faults)(
  "the process that counts is $how: each limit goes by its on_failure, then is exact again",
  async (fault) => {
    const spec = {
      dimension: Dimension.REQUESTS,
      ceiling: { case: "count" as const, value: BigInt(limit) },
      window: { case: "rate" as const, value: { per: { seconds: 86_400n } } },
    };
    const made = await Promise.all(
      policies.map(async (of) => [of, await limitedKey(weir, { ...spec, onFailure: onFailure[of] })]),
    );
    const keys: Keys = Object.fromEntries(made);
    const from = all.length;
    // Both are known as holders to both.
    for (let round = 0; round < 5; round++) {
      for (const of of policies) {
        for (let gateway = 0; gateway < gateways; gateway++) expect((await ask(keys, of, gateway)).status).toBe(200);
      }
    }
    const trickle = new Trickle(keys);
    await eventually("it trickles", () => trickle.answers.length >= 12, 10_000);
    const struckMs = performance.now();
    await fault.strike();
    await new Promise((resolve) => setTimeout(resolve, awayMs));
    const healedMs = performance.now();
    await fault.heal();
    const backMs = performance.now();
    await become(
      "all are checked again",
      async () =>
        policies.every((of) => {
          const after = ofPolicy(trickle.answers, of).filter(({ sentMs }) => sentMs > backMs);
          return [0, 1].every((gateway) => after.some((one) => one.gateway === gateway && one.status !== 503));
        }),
      15_000,
    );
    const checkedMs = performance.now();
    await trickle.stop();
    console.log("checked again after", checkedMs - healedMs);

    const away = trickle.answers.filter(({ sentMs, answeredMs }) => sentMs >= struckMs && answeredMs < healedMs);
    for (const { status, code, retryAfter } of away.filter((answer) => answer.status !== 200)) {
      expect({ status, code, retryAfter }).toEqual({ status: 503, code: "store_unavailable", retryAfter: "1" });
    }
    const closed = ofPolicy(away, "closed");
    const blind = closed.filter(({ sentMs }) => sentMs > struckMs + blindAfterMs);
    expect(blind.length).toBeGreaterThan(0);
    expect(passed(blind)).toBe(0);
    expect(passed(closed)).toBeLessThanOrEqual(leasedMax);
    const open = ofPolicy(away, "open");
    expect(passed(open)).toBe(open.length);
    const local = ofPolicy(away, "local");
    for (let gateway = 0; gateway < gateways; gateway++) {
      const here = local.filter((answer) => answer.gateway === gateway);
      console.log(
        fault.how,
        gateway,
        "local",
        passed(here),
        here.length,
        "closed",
        passed(closed),
        closed.length,
        "open",
        open.length,
      );
      expect(passed(here)).toBeGreaterThanOrEqual(Math.min(limit / gateways, here.length));
    }
    expect(passed(local)).toBeLessThanOrEqual(limit + leasedMax);

    for (const of of policies) {
      const before = ofPolicy(all.slice(from), of);
      const sinceStruck = ofPolicy(trickle.answers, of).filter(({ answeredMs }) => answeredMs > struckMs);
      const used = async () => Number((await limitStatus(weir, keys[of])).used);
      const startMs = performance.now();
      if (fault.forgets) {
        const after = sinceStruck.filter(({ answeredMs }) => answeredMs > healedMs);
        const least = of === "closed" ? passed(after) : passed(sinceStruck) - leasedMax;
        await become(`${of} is counted`, async () => (await used()) >= least);
      } else await become(`${of} is counted: ${passed(before)}`, async () => (await used()) === passed(before));
      const counted = await used();
      console.log(fault.how, of, "counted", counted, "of", passed(before), "took", performance.now() - startMs);
      const more = await Promise.all(Array.from({ length: limit + 10 }, (_, i) => ask(keys, of, i % gateways)));
      for (const { status, code } of more)
        if (status !== 200) expect({ status, code }).toEqual({ status: 429, code: "rate_limit_exceeded" });
      expect(counted + passed(more)).toBe(Math.max(limit, counted));
    }

    const admitted = new Set(all.filter(({ status }) => status === 200).map(({ requestId }) => requestId));
    const ledger = await settledLedger(weir.control.url, weir.key, admitted.size);
    expect(new Set(ledger.keys())).toEqual(admitted);
    for (const { endReason } of ledger.values()) expect(endReason).toBe(EndReason.COMPLETED);
    expect(
      tail
        .read()
        .map(({ id }) => id.slice(0, 36))
        .toSorted(),
    ).toEqual([...admitted].toSorted());
  },
  120_000,
);
