import { fromBinary } from "@bufbuild/protobuf";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { CountSource } from "../../../../gen/ts/weir/router/v1/event_pb.ts";
import {
  EndReason,
  type UsageRecord,
  UsageRecordSchema,
  UsageState,
} from "../../../../gen/ts/weir/usage/v1/usage_record_pb.ts";
import { headerBytes, headerFrom } from "../../../../services/router/journal/segment-header.ts";
import { lostRecord } from "../../../../services/router/usage/lost.ts";
import { JournalFolder, UsageWorld } from "../../../fakes/usage-world.ts";

const segmentBytes = 256 * 1024;

let folder: JournalFolder;
const opened: (JournalFolder | UsageWorld)[] = [];
beforeEach(() => {
  folder = new JournalFolder();
});
afterEach(async () => {
  for (const one of opened.splice(0).reverse()) {
    if (one instanceof UsageWorld) await one[Symbol.asyncDispose]();
    else one[Symbol.dispose]();
  }
  folder[Symbol.dispose]();
});

async function open(at: JournalFolder, over: Parameters<typeof UsageWorld.open>[1] = {}): Promise<UsageWorld> {
  const world = await UsageWorld.open(at.path, over);
  opened.push(world);
  return world;
}

/** A kill at this moment, and the next start. */
async function restart(change?: (copy: JournalFolder) => void, at = folder) {
  const copy = at.copy();
  opened.push(copy);
  change?.(copy);
  const world = await open(copy);
  const lost = world.former.unfinished.map(({ record, progress }) =>
    fromBinary(UsageRecordSchema, lostRecord(record, progress)),
  );
  return { world, lost, finals: await world.ship(), copy };
}

const ids = (records: readonly UsageRecord[]) => records.map(({ requestId }) => requestId);
const byteOf = (bytes: Buffer, at: number, flip: number) => {
  bytes.writeUInt8(bytes.readUInt8(at) ^ flip, at);
  return bytes;
};

describe("a journal", () => {
  test("ships what ended, as it was noted, and holds nothing once that is acknowledged", async () => {
    const world = await UsageWorld.open(folder.path);
    const id = world.run(5);
    expect(world.journal.outbox.unacknowledged).toBe(1);
    const [record] = await world.ship();
    expect(record).toMatchObject({
      requestId: id,
      state: UsageState.FINAL,
      endReason: EndReason.COMPLETED,
      requestedModel: "chat",
      model: "weir-sim",
      replicaId: "replica-0",
      tokens: { promptTokens: 100n, completionTokens: 5n, promptSource: CountSource.ESTIMATED },
    });
    expect(world.journal.outbox.unacknowledged).toBe(0);
    await world[Symbol.asyncDispose]();
    expect(folder.segments).toEqual([]);
  });

  test("tells the next process what ended last, whether or not that was acknowledged", async () => {
    const world = await open(folder);
    const all: string[] = [];
    for (let round = 0; round < 50; round++) {
      for (let i = 0; i < 50; i++) all.push(world.run());
      world.journal.flush();
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
    const { world: next } = await restart();
    const ended = next.former.endedLast.map((record) => fromBinary(UsageRecordSchema, record));
    expect(ids(ended)).toEqual(all.slice(-1_000));
    expect(ended[0]?.state).toBe(UsageState.FINAL);
  });

  test("is one process's", async () => {
    await open(folder);
    await expect(UsageWorld.open(folder.path)).rejects.toThrow(/another Weir uses the journal/);
  });

  test("writes once a turn, and tells those who wait for it in their order", async () => {
    let scheduled = 0;
    const world = await open(folder, { schedule: () => void scheduled++ });
    const said: string[] = [];
    const waiter = (name: string) => ({
      append: () => void said.push(`append ${name}`),
      flushed: () => void said.push(`flushed ${name}`),
    });
    world.run();
    world.journal.wait(waiter("a"));
    world.run();
    world.journal.wait(waiter("b"));
    expect([scheduled, said]).toEqual([1, []]);
    world.journal.flush();
    expect(said).toEqual(["append a", "append b", "flushed a", "flushed b"]);
    world.journal.flush();
    expect([scheduled, said.length]).toEqual([1, 4]);
  });

  test("moves from segment to segment, each with a spare ahead, and removes the oldest as they are acknowledged", async () => {
    const world = await open(folder);
    const all: string[] = [];
    for (let round = 0; round < 40; round++) {
      for (let i = 0; i < 50; i++) all.push(world.run());
      world.journal.flush();
      // A slow disk takes a while to have the next one ready.
      await expect.poll(() => world.journal.hasRoom).toBe(true);
    }
    await expect.poll(() => folder.segments.length).toBeGreaterThan(4);
    expect(ids((await restart()).finals)).toEqual(all);
    expect(ids(await world.ship())).toEqual(all);
    await expect.poll(() => folder.segments.length).toBe(2);
  });

  test("keeps what is not acknowledged, and all that is younger, whatever else is acknowledged", async () => {
    const world = await open(folder);
    const all: string[] = [];
    for (let round = 0; round < 30; round++) {
      for (let i = 0; i < 50; i++) all.push(world.run());
      world.journal.flush();
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
    const names = folder.segments;
    const first = world.journal.outbox.take(10, 1e6);
    const rest = world.journal.outbox.take(1_000, 1e7);
    const last = world.journal.outbox.take(1_000, 1e7);
    if (!first || !rest || !last || !("records" in first && "records" in rest && "records" in last))
      throw new Error("nothing is to be shipped");
    world.journal.acknowledged(rest.segments);
    world.journal.acknowledged(last.segments);
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(folder.segments).toEqual(expect.arrayContaining(names));
    expect(ids((await restart()).finals)).toEqual(all);
    world.journal.acknowledged(first.segments);
    await expect.poll(() => folder.segments.length).toBe(2);
  });

  test("carries what still runs along when its segment goes", async () => {
    const world = await open(folder);
    const long = world.begin();
    long.receive(7);
    for (let round = 0; round < 20; round++) {
      for (let i = 0; i < 50; i++) world.run();
      world.journal.flush();
      await new Promise((resolve) => setTimeout(resolve, 2));
      await world.ship();
    }
    await expect.poll(() => folder.segments.length).toBe(2);
    world.journal.flush();
    const { lost } = await restart();
    expect(lost).toMatchObject([{ requestId: long.usage.requestId, tokens: { completionTokens: 7n } }]);
    long.usage.end(undefined);
    expect(await world.ship()).toMatchObject([{ requestId: long.usage.requestId }]);
  });

  test("holds a bounded number of finals in memory, and reads the rest from its files", async () => {
    const world = await open(folder, { segmentBytes: 8 * 1024 * 1024, bytesMax: 256 * 1024 * 1024 });
    const all: string[] = [];
    const before = process.memoryUsage().arrayBuffers;
    for (let round = 0; round < 150; round++) {
      for (let i = 0; i < 1_000; i++) all.push(world.run(0));
      world.journal.flush();
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(40 * 1024 * 1024);
    expect(world.journal.bytes).toBeGreaterThanOrEqual(40 * 1024 * 1024);
    const shipped = ids(await world.ship());
    expect(shipped).toHaveLength(all.length);
    // On a slow disk those that found no file ready come first.
    expect(shipped.toSorted()).toEqual(all);
    expect(world.journal.outbox.unacknowledged).toBe(0);
  }, 60_000);
});

describe("without room", () => {
  test("no request begins, those that run end exactly, and with room again requests begin by themselves", async () => {
    const world = await open(folder, { bytesMax: 2 * segmentBytes });
    expect(world.journal.hasRoom).toBe(true);
    const running = Array.from({ length: 20 }, () => world.begin());
    const ended: string[] = [];
    for (let i = 0; i < 2_000 && world.usage.refusal() === undefined; i++) {
      ended.push(world.run(0));
      world.journal.flush();
    }
    expect(world.usage.refusal()?.facts).toMatchObject({ retry_after_ms: "1000" });
    expect(world.troubles).toMatchObject([{ what: "no_room" }]);
    for (let tokens = 0; tokens < 2_000; tokens++) {
      for (const one of running) one.receive(1);
      world.journal.flush();
    }
    const { lost, finals } = await restart();
    expect(ids(finals)).toEqual(ended);
    expect(lost.map(({ tokens }) => tokens?.completionTokens)).toEqual(running.map(() => 2_000n));
    for (const { usage, meter } of running) {
      usage.tryOver(meter.counts(), 0, true);
      usage.end(undefined);
    }
    world.journal.flush();
    const after = await restart();
    expect([after.finals.length, after.lost.length]).toEqual([ended.length + running.length, 0]);
    expect(await world.ship()).toHaveLength(ended.length + running.length);
    await expect.poll(() => world.usage.refusal()).toBeUndefined();
    expect(folder.segments).toHaveLength(2);
  });
});

describe("a start after a kill", () => {
  test("ends what ran as lost, with the counts that were noted last, and ships what had ended", async () => {
    const world = await open(folder);
    const ended = world.run(4);
    const running = world.begin();
    running.receive(3);
    world.clock.advance(250);
    running.receive(2);
    world.journal.flush();
    // Never written, so told to nobody.
    running.receive(50);
    const { lost, finals } = await restart();
    expect(ids(finals)).toEqual([ended]);
    expect(lost).toMatchObject([
      {
        requestId: running.usage.requestId,
        state: UsageState.FINAL,
        endReason: EndReason.LOST,
        tokens: {
          promptTokens: 100n,
          promptSource: CountSource.ESTIMATED,
          completionTokens: 5n,
          completionSource: CountSource.COUNTED,
        },
        duration: { nanos: 250_000_000 },
        attempts: [{ replicaId: "replica-0", tokens: { completionTokens: 5n } }],
      },
    ]);
  });

  test("keeps what is not acknowledged for the start after it, and tells the same of what was lost", async () => {
    const world = await open(folder);
    const ended = world.run(4);
    world.begin().receive(3);
    world.journal.flush();
    const first = folder.copy();
    opened.push(first);
    const second = await UsageWorld.open(first.path);
    opened.push(second);
    for (const { record, progress, segment } of second.former.unfinished)
      second.journal.outbox.addLost(segment, lostRecord(record, progress));
    expect(await second.ship(false)).toHaveLength(2);
    const third = await restart(undefined, first);
    expect(ids(third.finals)).toEqual([ended]);
    expect(third.lost).toMatchObject([{ tokens: { completionTokens: 3n } }]);
  });

  test("removes former segments once all in them is acknowledged, those that were lost included", async () => {
    const world = await open(folder);
    world.run();
    world.begin().receive(3);
    world.journal.flush();
    const copy = folder.copy();
    opened.push(copy);
    const next = await open(copy);
    const name = copy.segments[0] ?? "";
    for (const { record, progress, segment } of next.former.unfinished)
      next.journal.outbox.addLost(segment, lostRecord(record, progress));
    expect(copy.segments).toContain(name);
    expect(await next.ship()).toHaveLength(2);
    await expect.poll(() => copy.segments.includes(name)).toBe(false);
  });

  test("a torn end is told and costs nothing that was told of", async () => {
    const world = await open(folder);
    const first = world.run();
    world.journal.flush();
    const end = await endOfData(folder);
    world.run();
    world.journal.flush();
    const torn = await restart((copy) => copy.change(copy.segments[0] ?? "", (bytes) => bytes.fill(0, end + 20)));
    expect(ids(torn.finals)).toEqual([first]);
    expect(torn.world.troubles).toMatchObject([{ what: "torn", bytes: 20 }]);
    expect(torn.copy.dead).toHaveLength(1);
  });

  test("a flipped bit costs its record alone: that is put aside, with an alarm", async () => {
    const world = await open(folder);
    const all = [world.run(0), world.run(0), world.run(0)];
    world.journal.flush();
    const end = await endOfData(folder);
    for (const at of [headerBytes + 30, Math.floor((end + headerBytes) / 2), end - 3]) {
      const {
        finals,
        lost,
        world: next,
        copy,
      } = await restart((changed) => changed.change(changed.segments[0] ?? "", (bytes) => byteOf(bytes, at, 4)));
      expect(next.troubles).toMatchObject([{ what: "damaged" }]);
      expect(copy.dead).toHaveLength(1);
      expect([...ids(finals), ...ids(lost)].sort()).toEqual(all.sort());
    }
  });

  test("a damaged head of a segment costs nothing but an alarm", async () => {
    const world = await open(folder);
    const id = world.run();
    world.journal.flush();
    const { finals, world: next } = await restart((copy) =>
      copy.change(copy.segments[0] ?? "", (bytes) => byteOf(bytes, 9, 1)),
    );
    expect(ids(finals)).toEqual([id]);
    expect(next.troubles).toMatchObject([{ what: "damaged" }]);
  });

  test("a segment of another version is put aside as a whole, with an alarm", async () => {
    const world = await open(folder);
    world.run();
    world.journal.flush();
    const header = headerFrom({ number: 1, run: "000000000000", createdMs: 0 }, 2);
    const {
      finals,
      world: next,
      copy,
    } = await restart((changed) =>
      changed.change(changed.segments[0] ?? "", (bytes) => Buffer.concat([header, bytes.subarray(headerBytes)])),
    );
    expect(finals).toEqual([]);
    expect(next.troubles).toMatchObject([{ what: "version" }]);
    expect(copy.dead).toHaveLength(1);
    next.run();
    expect(await next.ship()).toHaveLength(1);
  });

  test("files of nonsense, cut off and empty ones, and foreign ones", async () => {
    const nonsense = Buffer.from(Array.from({ length: 4_096 }, (_, i) => (i * 131 + (i >> 3)) & 0xff));
    for (const bytes of [
      nonsense,
      Buffer.alloc(0),
      Buffer.alloc(10),
      headerFrom({ number: 3, run: "a", createdMs: 0 }),
    ]) {
      const { finals, lost } = await restart((copy) => {
        copy.add("0000000003-abcdefghijkl.journal", bytes);
        copy.add("notes.txt", nonsense);
      });
      expect([finals, lost]).toEqual([[], []]);
    }
  });
});

describe("notes", () => {
  test("are replayed at the next start, and asked for again when their segment goes", async () => {
    const world = await open(folder);
    let asked = 0;
    const notes = world.journal.notes(3, () => {
      asked += 1;
      notes.add(Buffer.from("newest"));
    });
    expect(notes.add(Buffer.from("first"))).toBe(true);
    world.journal.flush();
    expect((await restart()).world.former.notes.get(3)).toEqual([Buffer.from("first")]);
    for (let round = 0; round < 20; round++) {
      for (let i = 0; i < 50; i++) world.run();
      world.journal.flush();
      await new Promise((resolve) => setTimeout(resolve, 2));
      await world.ship();
    }
    expect(asked).toBeGreaterThan(0);
    expect((await restart()).world.former.notes.get(3)?.at(-1)).toEqual(Buffer.from("newest"));
  });

  test.each([true, false])("outlive a clean stop if they are not over: %s", async (over) => {
    {
      await using world = await UsageWorld.open(folder.path);
      const notes = world.journal.notes(3, () => {});
      notes.add(Buffer.from("spent"));
      if (over) notes.over();
    }
    expect((await open(folder)).former.notes.get(3)).toEqual(over ? undefined : [Buffer.from("spent")]);
  });
});

/** Where the records of the first segment end. */
async function endOfData(at: JournalFolder): Promise<number> {
  let end = 0;
  at.change(at.segments[0] ?? "", (bytes) => {
    end = bytes.findLastIndex((byte) => byte !== 0) + 1;
    return bytes;
  });
  return end;
}
