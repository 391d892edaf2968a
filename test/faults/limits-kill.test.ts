import { afterAll, beforeAll, expect, test } from "vitest";
import { Dimension } from "../../gen/ts/weir/quota/v1/limit_pb.ts";
import { type Installation, startInstallation } from "../fakes/installation.ts";
import {
  askGateway,
  become,
  granted,
  type KeyLimitSpec,
  type LimitedKey,
  limitedKey,
  limitStatus,
  together,
} from "../fakes/limited-keys.ts";
import { eventsOf, RawRequest } from "../fakes/raw-request.ts";
import { RecordTail } from "../fakes/record-tail.ts";
import { type SimulatorProcess, startSimulatorProcess } from "../fakes/simulator-process.ts";
import { eventually } from "../rpc/eventually.ts";

const limit = 40;
/** Requests that run when the gateway is killed, and those that have ended before. */
const running = 16;
const ended = 10;
/** Places that a dead node held in a lease are free after 15 s. */
const forgottenMs = 25_000;

let engine: SimulatorProcess;
let tail: RecordTail;
let weir: Installation;

beforeAll(async () => {
  engine = await startSimulatorProcess(["--decode-ms", "20", "--prefill-ms", "0"]);
  tail = new RecordTail(engine.recordPath);
  weir = await startInstallation("two processes", {
    yaml: `pools: [{ id: sim, replicas: [{ url: "${engine.httpUrl}" }] }]\nmodels: [{ id: sim, pool: sim, engine_model: weir-sim }]`,
  });
}, 120_000);

afterAll(async () => {
  await weir?.[Symbol.asyncDispose]();
  tail?.[Symbol.dispose]();
  await engine?.[Symbol.asyncDispose]();
});

const daily = { case: "rate" as const, value: { per: { seconds: 86_400n } } };
const requests: KeyLimitSpec = {
  dimension: Dimension.REQUESTS,
  ceiling: { case: "count", value: BigInt(limit) },
  window: daily,
};
const atOnce: KeyLimitSpec = {
  dimension: Dimension.CONCURRENT_REQUESTS,
  ceiling: { case: "count", value: BigInt(running) },
};

const ask = ({ secret }: LimitedKey) => askGateway(weir.gateway.url, secret, { model: "sim", max_tokens: 1 });

/** Asks for an answer that takes long. */
const begin = ({ secret }: LimitedKey) =>
  new RawRequest({
    port: Number(new URL(weir.gateway.url).port),
    key: secret,
    path: "/v1/chat/completions",
    body: {
      model: "sim",
      messages: [{ role: "user", content: "[[sim length=3000]]" }],
      max_tokens: 3_000,
      stream: true,
    },
  });

test("a gateway that is killed in the middle of requests: no more than the limit passes, and what was not spent comes back", async () => {
  // What runs is in part drawn from leases, in part reserved for each request, for it begins all at once.
  const [burst, warm, slots] = await Promise.all([
    limitedKey(weir, requests),
    limitedKey(weir, requests),
    limitedKey(weir, atOnce),
  ]);
  expect(granted(await together(ended, () => ask(burst)))).toBe(ended);
  for (let i = 0; i < ended; i++) expect((await ask(warm)).status).toBe(200);
  const before = tail.read().length;
  const streams = [burst, warm, slots].flatMap((key) => Array.from({ length: running }, () => begin(key)));
  await eventually("all are running", () => streams.every((one) => eventsOf(one.text).chunks.length > 2), 10_000);
  expect(tail.read().length - before).toBe(3 * running);
  expect((await ask(slots)).status).toBe(429);
  const held = await Promise.all([burst, warm, slots].map((key) => limitStatus(weir, key)));
  expect(held.some(({ reserved }) => reserved > 0n)).toBe(true);
  expect(held.some(({ leased }) => leased > 0n)).toBe(true);
  weir.gateway.kill("SIGKILL");
  await weir.gateway.exited;
  await eventually("the engine is idle", () => tail.open().length === 0, 10_000);
  await weir.restartGateway();

  const left = limit - ended - running;
  for (const key of [burst, warm]) {
    const first = granted(await together(limit, () => ask(key)));
    expect(first).toBeLessThanOrEqual(left);
    const gone = BigInt(ended + running + first);
    await become(
      "what engines had heard of is counted, and nothing else",
      async () => {
        const { used, reserved } = await limitStatus(weir, key);
        return used === gone && reserved === 0n;
      },
      forgottenMs,
    );
    expect(first + granted(await together(limit, () => ask(key)))).toBe(left);
  }
  await become(
    "all places are free",
    async () => (await limitStatus(weir, slots)).remaining === BigInt(running),
    forgottenMs,
  );
  expect(granted(await together(running, () => ask(slots)))).toBe(running);
}, 120_000);
