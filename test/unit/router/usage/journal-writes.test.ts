import { renameSync } from "node:fs";
import { open } from "node:fs/promises";
import { afterEach, beforeEach, expect, test } from "vitest";
import { isRecord, readRecords, RecordType } from "../../../../services/router/journal/format.ts";
import { handleBytes, Outbox } from "../../../../services/router/journal/outbox.ts";
import { readFormer } from "../../../../services/router/journal/former.ts";
import { readProgress, writeProgress } from "../../../../services/router/journal/progress.ts";
import { RecordWriter } from "../../../../services/router/journal/record-writer.ts";
import { createSegment, Segment } from "../../../../services/router/journal/segment.ts";
import { type JournalTrouble, SegmentChain } from "../../../../services/router/journal/segment-chain.ts";
import { headerBytes } from "../../../../services/router/journal/segment-header.ts";
import { SimulatedClock } from "../../../fakes/simulated-clock.ts";
import { JournalFolder } from "../../../fakes/usage-world.ts";

const segmentBytes = 262_144;

let folder: JournalFolder;
let clock: SimulatedClock;
let troubles: JournalTrouble[];
let chain: SegmentChain;
let outbox: Outbox;
let writer: RecordWriter;

beforeEach(async () => {
  folder = new JournalFolder();
  clock = new SimulatedClock();
  troubles = [];
  chain = new SegmentChain(
    {
      folder: folder.path,
      bytesMax: 100 * segmentBytes,
      segmentBytes,
      clock,
      run: "abcdefghijkl",
      trouble: (trouble) => void troubles.push(trouble),
    },
    [],
    0,
  );
  const loose = new Segment({ number: 0, run: "abcdefghijkl", createdMs: 0 }, "", 0);
  outbox = new Outbox(chain.segments, loose, () => undefined);
  writer = new RecordWriter(chain, (segment, records) => outbox.rescue(segment, records));
  await chain.start();
});
afterEach(async () => {
  await chain.close();
  folder[Symbol.dispose]();
});

/** A final with this text for a UsageRecord. */
function final(text: string): void {
  const at = writer.begin();
  const end = at + handleBytes + writer.buffer.write(text, at + handleBytes);
  const record = outbox.copied(writer.buffer, at + handleBytes, end);
  outbox.add(writer.commit(RecordType.FINAL, end), record);
}

/** From here on the system refuses to write into the active segment. */
async function breakActive(number = 50): Promise<void> {
  const header = { number, run: "abcdefghijkl", createdMs: 0 };
  const made = await createSegment(folder.path, header, segmentBytes);
  await made.close();
  const file = await open(made.path, "r");
  await chain.active?.close();
  chain.active = new Segment(header, made.path, segmentBytes, file);
  chain.segments.push(chain.active);
}

async function shipped(): Promise<string[]> {
  const texts: string[] = [];
  for (let taken = outbox.take(1_000, 1e6); taken; taken = outbox.take(1_000, 1e6)) {
    if ("records" in taken) texts.push(...taken.records.map((record) => Buffer.from(record).toString()));
    else await outbox.read(taken);
  }
  return texts;
}

test("what the system refuses to write goes into the next segment; room is in doubt until one can be made", async () => {
  await breakActive();
  final("one");
  final("two");
  writer.write();
  expect(troubles).toMatchObject([{ what: "write_failed", error: { code: "EBADF" } }]);
  expect(chain.hasRoom).toBe(false);
  final("three");
  writer.write();
  const { segments } = await readFormer(folder.path, () => undefined);
  expect(segments.reduce((sum, { finals }) => sum + finals, 0)).toBe(3);
  expect(await shipped()).toEqual(["one", "two", "three"]);
  clock.advance(1_000);
  await expect.poll(() => chain.hasRoom).toBe(true);
});

test("if the next one can't be written either, finals are shipped from memory", async () => {
  await breakActive();
  final("one");
  writer.write();
  await breakActive(51);
  final("two");
  writer.write();
  expect(chain.active).toBeUndefined();
  final("three");
  writer.write();
  expect((await shipped()).toSorted()).toEqual(["one", "three", "two"]);
});

test("finals that only a broken file would have had are held in memory", async () => {
  await breakActive();
  final("one");
  const { active } = chain;
  if (!active) throw new Error("there is no active segment");
  // As when memory was short.
  Object.assign(active, { taken: 0, readBack: true, unsent: [], unsentBytes: 0 });
  writer.write();
  expect(await shipped()).toEqual(["one"]);
});

test("a segment that took in what another one refused gives its own finals, too, when it is read", async () => {
  await breakActive();
  final("one");
  final("two");
  writer.write();
  for (const text of ["three", "four", "five"]) final(text);
  writer.write();
  const { active } = chain;
  if (!active) throw new Error("there is no active segment");
  // As when memory was short after the first of its own was sent.
  Object.assign(active, { taken: 1, readBack: true, unsent: [], unsentBytes: 0 });
  expect(await shipped()).toEqual(["one", "two", "four", "five"]);
});

test("a progress whose place is in a segment that can't be written goes into the next one, which stays", async () => {
  final("one");
  writer.write();
  await breakActive();
  const { active } = chain;
  if (!active) throw new Error("there is no active segment");
  const note = (tokens: number) =>
    writeProgress(writer.buffer, writer.begin(), {
      handle: 7,
      sequence: tokens,
      completionTokens: tokens,
      reasoningTokens: 0,
      elapsedMs: 1,
      firstTokenMs: 1,
      estimated: false,
    });
  final("two");
  writer.overwrite(RecordType.PROGRESS, note(3), active, headerBytes);
  writer.write();
  expect(troubles.map(({ what }) => what)).toEqual(["write_failed"]);
  const records = [...readRecords((await chain.active?.read()) ?? Buffer.alloc(0), headerBytes)].filter(isRecord);
  expect(records.map(({ type }) => type)).toEqual([RecordType.FINAL, RecordType.PROGRESS]);
  expect(readProgress(records[1]?.payload ?? Buffer.alloc(0))).toMatchObject({ handle: 7, completionTokens: 3 });
});

test("a segment that can't be read has what it had, whatever comes meanwhile; read again, it gives each final once", async () => {
  final("one");
  writer.write();
  const { active } = chain;
  if (!active) throw new Error("there is no active segment");
  // As when memory was short.
  Object.assign(active, { taken: 0, readBack: true, unsent: [], unsentBytes: 0 });
  renameSync(active.path, `${active.path}.away`);
  const failing = outbox.read(active);
  final("two");
  writer.write();
  await expect(failing).rejects.toMatchObject({ code: "ENOENT" });
  final("three");
  writer.write();
  renameSync(`${active.path}.away`, active.path);
  expect([await shipped(), outbox.unacknowledged]).toEqual([["one", "two", "three"], 3]);
});

test("finals that came while their segment was read, and that only a broken file would have had, are shipped", async () => {
  await breakActive();
  final("one");
  const { active } = chain;
  if (!active) throw new Error("there is no active segment");
  Object.assign(active, { taken: 1, readBack: true, unsent: [], unsentBytes: 0 });
  renameSync(active.path, `${active.path}.away`);
  const failing = outbox.read(active);
  final("two");
  writer.write();
  await expect(failing).rejects.toMatchObject({ code: "ENOENT" });
  renameSync(`${active.path}.away`, active.path);
  expect(await shipped()).toEqual(["one", "two"]);
});
