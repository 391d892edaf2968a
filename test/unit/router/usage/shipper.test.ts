import { renameSync } from "node:fs";
import { basename, join } from "node:path";
import { fromBinary } from "@bufbuild/protobuf";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { ErrorReason } from "../../../../gen/ts/weir/error/v1/error_pb.ts";
import { type UsageRecord, UsageRecordSchema, UsageState } from "../../../../gen/ts/weir/usage/v1/usage_record_pb.ts";
import type { QuarantinedRecord } from "../../../../gen/ts/weir/usage/v1/usage_service_pb.ts";
import { Shipper } from "../../../../services/router/usage/shipper.ts";
import { fail } from "../../../../services/runtime/errors/fail.ts";
import { JournalFolder, UsageWorld } from "../../../fakes/usage-world.ts";

/** A batch on its way, which the test answers. */
interface Sent {
  readonly records: UsageRecord[];
  readonly completeUntilMs: number;
  store(quarantined?: readonly QuarantinedRecord[]): Promise<void>;
  refuse(): Promise<void>;
}

let folder: JournalFolder;
let world: UsageWorld;
let shipper: Shipper;
let sent: Sent[];
let news: string[];

beforeEach(async () => {
  folder = new JournalFolder();
  world = await UsageWorld.open(folder.path, { segmentBytes: 1024 * 1024 });
  sent = [];
  news = [];
  shipper = shipperOf(world);
});

afterEach(async () => {
  await world[Symbol.asyncDispose]();
  folder[Symbol.dispose]();
});

function shipperOf(at: UsageWorld): Shipper {
  const made = new Shipper({
    clock: at.clock,
    chance: () => 1,
    journal: at.journal,
    send: (records, completeUntilMs) =>
      new Promise((resolve, reject) => {
        sent.push({
          records: records.map((bytes) => fromBinary(UsageRecordSchema, bytes)),
          completeUntilMs,
          async store(quarantined = []) {
            resolve(quarantined);
            await settled();
          },
          async refuse() {
            reject(fail(ErrorReason.STORE_UNAVAILABLE));
            await settled();
          },
        });
      }),
    news: {
      away: () => void news.push("away"),
      back: () => void news.push("back"),
      unreadable: ({ path }) => void news.push(`unreadable ${basename(path)}`),
      setAside: ({ requestId }) => void news.push(`set aside ${requestId}`),
    },
  });
  at.journal.onFinal = made.wake;
  at.usage.onBegin = made.watch;
  return made;
}

const settled = () => new Promise<void>((resolve) => setImmediate(resolve));
const ids = () => sent.map(({ records }) => records.map(({ requestId }) => requestId));

function runMany(count: number): string[] {
  const all = Array.from({ length: count }, () => world.run(0));
  world.journal.flush();
  return all;
}

describe("finals", () => {
  test("are gathered for a moment, and sent once", async () => {
    expect(world.clock.pendingTimers).toBe(0);
    const all = [world.run(), world.run()];
    world.journal.flush();
    world.clock.advance(199);
    expect(sent).toEqual([]);
    world.clock.advance(1);
    expect(ids()).toEqual([all]);
    await sent[0]?.store();
    expect(world.journal.outbox.unacknowledged).toBe(0);
    world.clock.advance(999);
    expect(sent).toHaveLength(1);
  });

  test("that come no more are told of soon, and every minute; while one runs, up to its admission", async () => {
    shipper.wake();
    world.clock.advance(1_200);
    expect(sent.map(({ records, completeUntilMs }) => [records, completeUntilMs])).toEqual([[[], world.clock.nowMs()]]);
    await sent[0]?.refuse();
    world.clock.advance(60_000);
    expect(sent[1]).toMatchObject({ records: [], completeUntilMs: world.clock.nowMs() });
    expect(news).toEqual([]);
    const { usage } = world.begin();
    const admitMs = world.clock.nowMs();
    world.clock.advance(1_000);
    // What it is told of as it runs.
    await sent.at(-1)?.store();
    world.clock.advance(59_000);
    expect(sent.at(-1)).toMatchObject({ records: [], completeUntilMs: admitMs });
    usage.end(undefined);
    const stopped = shipper[Symbol.asyncDispose]();
    await sent.at(-1)?.store();
    await stopped;
    expect(world.clock.pendingTimers).toBe(0);
  });

  test("go in batches of a thousand, four at a time, the oldest first", async () => {
    const all = runMany(5_500);
    world.clock.advance(200);
    expect(sent).toHaveLength(4);
    await sent[2]?.store();
    expect(sent).toHaveLength(5);
    for (const one of [0, 1, 3, 4]) await sent[one]?.store();
    await sent[5]?.store();
    expect(ids().flat()).toEqual(all);
    expect(world.journal.outbox.unacknowledged).toBe(0);
  });

  test("whose outcome is not known are sent again, alone, with a growing patience; all others wait", async () => {
    const all = runMany(3_000);
    world.clock.advance(200);
    expect(sent).toHaveLength(3);
    for (const one of sent) await one.refuse();
    expect(news).toEqual(["away"]);
    const waits: number[] = [];
    for (let round = 0; round < 9; round++) {
      const before = sent.length;
      let waited = 0;
      for (; sent.length === before && waited < 20_000; waited += 50) world.clock.advance(50);
      waits.push(waited);
      expect(sent).toHaveLength(before + 1);
      await sent.at(-1)?.refuse();
    }
    expect(waits).toEqual([400, 800, 1_600, 3_200, 5_000, 5_000, 5_000, 5_000, 5_000]);
    runMany(10);
    world.clock.advance(5_000);
    const first = sent.length;
    await sent.at(-1)?.store();
    expect(news).toEqual(["away", "back"]);
    for (let next = first; next < sent.length; next++) await sent[next]?.store();
    expect(new Set(ids().flat())).toHaveProperty("size", 3_010);
    expect(ids().flat()).toEqual(expect.arrayContaining(all));
    expect(world.journal.outbox.unacknowledged).toBe(0);
  });

  test("of a segment that can't be read are passed over, told of once, and shipped when it can be", async () => {
    world.journal.onFinal = () => undefined;
    const former = runMany(3);
    await world[Symbol.asyncDispose]();
    world.clock.advance(1_000);
    const [name = ""] = folder.segments;
    world = await UsageWorld.open(folder.path, { clock: world.clock });
    shipper = shipperOf(world);
    renameSync(join(folder.path, name), join(folder.path, "away"));
    const younger = runMany(2);
    world.clock.advance(200);
    await expect.poll(() => ids()).toEqual([younger]);
    // The order of what the ledger gets tells it nothing now.
    expect(sent[0]?.completeUntilMs).toBe(1);
    await sent[0]?.store();
    world.clock.advance(5_000);
    // For the next try, and for the next word that all is told.
    await expect.poll(() => world.clock.pendingTimers).toBe(2);
    expect([news, world.journal.outbox.unacknowledged]).toEqual([[`unreadable ${name}`], 3]);
    renameSync(join(folder.path, "away"), join(folder.path, name));
    world.clock.advance(5_000);
    await expect.poll(() => ids()).toEqual([younger, former]);
    expect(sent[1]?.completeUntilMs).toBe(world.clock.nowMs());
    await sent[1]?.store();
    expect([world.journal.outbox.unacknowledged, world.clock.pendingTimers]).toEqual([0, 1]);
  });

  test("that the ledger sets aside are told of, and not sent again", async () => {
    const [id = ""] = runMany(1);
    world.clock.advance(200);
    await sent[0]?.store([
      { $typeName: "weir.usage.v1.QuarantinedRecord", requestId: id, problem: "counts", index: 0 },
    ]);
    expect(news).toEqual([`set aside ${id}`]);
    expect(world.journal.outbox.unacknowledged).toBe(0);
  });

  test("of a clock that jumps an hour, either way, are shipped as ever, and last as long as they did", async () => {
    const start = world.clock.nowMs();
    const { usage } = world.begin();
    world.clock.jumpWallTo(start - 3_600_000);
    world.clock.advance(500);
    world.run();
    world.clock.jumpWallTo(start + 3_600_000);
    world.clock.advance(500);
    usage.end(undefined);
    world.journal.flush();
    world.clock.advance(200);
    const records = sent.flatMap((one) => one.records).filter(({ state }) => state === UsageState.FINAL);
    expect(records).toHaveLength(2);
    const long = records.find(({ requestId }) => requestId === usage.requestId);
    expect(long).toMatchObject({ duration: { seconds: 1n, nanos: 0 }, admitTime: { seconds: BigInt(start / 1_000) } });
    for (const one of sent) await one.store();
    expect(world.journal.outbox.unacknowledged).toBe(0);
  });
});

describe("what runs", () => {
  test("is told of after a second, and every five while it goes on; its end is told as ever", async () => {
    const { usage, receive } = world.begin();
    world.journal.flush();
    for (let ms = 0; ms < 12_000; ms += 250) {
      receive(1);
      world.journal.flush();
      world.clock.advance(250);
      await Promise.all(sent.map((one) => one.store()));
    }
    const told = sent.flatMap(({ records }) => records);
    expect(told.length).toBeGreaterThanOrEqual(3);
    expect(told.length).toBeLessThanOrEqual(4);
    expect(told[0]).toMatchObject({ requestId: usage.requestId, state: UsageState.PROGRESS });
    const counts = told.map(({ tokens }) => Number(tokens?.completionTokens));
    expect(counts).toEqual(counts.toSorted((a, b) => a - b));
    usage.end(undefined);
    world.journal.flush();
    world.clock.advance(200);
    expect(sent.at(-1)?.records).toMatchObject([{ requestId: usage.requestId, state: UsageState.FINAL }]);
    await sent.at(-1)?.store();
    await shipper[Symbol.asyncDispose]();
    expect(world.clock.pendingTimers).toBe(0);
  });

  test("is not told of while it is short, nor again while nothing changes", async () => {
    const { usage } = world.begin();
    world.journal.flush();
    for (let ms = 0; ms < 20_000; ms += 500) {
      world.clock.advance(500);
      await Promise.all(sent.map((one) => one.store()));
    }
    expect(sent.map(({ records }) => records.map(({ state }) => state))).toEqual([[UsageState.INTENT]]);
    usage.end(undefined);
  });

  test("is told of again where it is not known to have been heard, though nothing changes", async () => {
    const { usage } = world.begin();
    world.journal.flush();
    world.clock.advance(1_000);
    await sent[0]?.refuse();
    world.clock.advance(5_000);
    await sent[1]?.store();
    world.clock.advance(20_000);
    expect(ids()).toEqual([[usage.requestId], [usage.requestId]]);
    usage.end(undefined);
  });

  test("holds back the time up to which all is told", async () => {
    const { usage } = world.begin();
    const admitMs = world.clock.nowMs();
    world.clock.advance(100);
    runMany(1);
    world.clock.advance(200);
    expect(sent[0]?.completeUntilMs).toBe(admitMs);
    await sent[0]?.store();
    usage.end(undefined);
    world.clock.advance(200);
    expect(sent[1]?.completeUntilMs).toBe(world.clock.nowMs());
    await sent[1]?.store();
    runMany(2_500);
    world.clock.advance(200);
    expect(sent.slice(2).map(({ completeUntilMs }) => completeUntilMs)).toEqual(
      Array(3).fill(sent[1]?.completeUntilMs),
    );
    for (const one of sent.slice(2)) await one.store();
  });
});

describe("a stop", () => {
  test("ships what is there without the wait, and is over when all is acknowledged", async () => {
    runMany(1_500);
    const stopped = shipper[Symbol.asyncDispose]();
    expect(sent).toHaveLength(2);
    for (const one of sent) await one.store();
    await stopped;
    expect([world.journal.outbox.unacknowledged, world.clock.pendingTimers]).toEqual([0, 0]);
  });

  test("waits a few seconds for a ledger that is away, tries again meanwhile, and leaves the rest to the next start", async () => {
    runMany(3);
    let over = false;
    const stopped = shipper[Symbol.asyncDispose]().then(() => (over = true));
    for (let ms = 0; ms < 4_900; ms += 100) {
      await sent.at(-1)?.refuse();
      await settled();
      world.clock.advance(100);
      await settled();
    }
    expect(over).toBe(false);
    expect(sent.length).toBeGreaterThan(10);
    world.clock.advance(200);
    await stopped;
    expect(world.journal.outbox.unacknowledged).toBe(3);
    expect(world.clock.pendingTimers).toBe(0);
  });
});
