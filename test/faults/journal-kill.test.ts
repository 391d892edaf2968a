import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { fromBinary } from "@bufbuild/protobuf";
import { afterEach, beforeEach, expect, test } from "vitest";
import { EndReason, type UsageRecord, UsageRecordSchema } from "../../gen/ts/weir/usage/v1/usage_record_pb.ts";
import { lostRecord } from "../../services/router/usage/lost.ts";
import { JournalFolder, UsageWorld } from "../fakes/usage-world.ts";

const writer = resolve(import.meta.dirname, "journal-writer.ts");
/** `JOURNAL_KILLS` for more. */
const kills = Number(process.env["JOURNAL_KILLS"] ?? 10);

let folder: JournalFolder;
beforeEach(() => {
  folder = new JournalFolder();
});
afterEach(() => folder[Symbol.dispose]());

/** What the journal acknowledged of a request. */
interface Told {
  tokens: number;
  ended: boolean;
}

/** Lets a writer run for so long, and kills it. Adds what it was told. */
async function runAndKill(lastMs: number, told: Map<string, Told>): Promise<string[]> {
  const child = spawn(process.execPath, [writer, folder.path, ledgerPath()], { stdio: ["ignore", "pipe", "inherit"] });
  let text = "";
  child.stdout.setEncoding("utf8").on("data", (chunk: string) => {
    if (text === "") setTimeout(() => child.kill("SIGKILL"), lastMs);
    text += chunk;
  });
  await once(child, "close");
  const troubles: string[] = [];
  // The last line may be cut short.
  for (const line of text.split("\n").slice(0, -1)) {
    const [what, id = "", tokens = "0"] = line.split(" ");
    if (what === "trouble") troubles.push(line);
    if (what !== "begun" && what !== "received" && what !== "ended") continue;
    told.set(id, { tokens: Number(tokens), ended: what === "ended" });
  }
  return troubles;
}

const ledgerPath = () => join(folder.path, "ledger.txt");

/** All that reached the ledger, by request. */
function ledger(): Map<string, UsageRecord[]> {
  const found = new Map<string, UsageRecord[]>();
  if (!existsSync(ledgerPath())) return found;
  for (const line of readFileSync(ledgerPath(), "latin1").split("\n").slice(0, -1)) {
    const record = fromBinary(UsageRecordSchema, Buffer.from(line, "base64"));
    found.set(record.requestId, [...(found.get(record.requestId) ?? []), record]);
  }
  return found;
}

test(`${kills} kills at full speed: nothing that was acknowledged is lost, nothing is told in two ways`, async () => {
  const told = new Map<string, Told>();
  const troubles: string[] = [];
  let lost = 0;
  for (let kill = 0; kill < kills; kill++) troubles.push(...(await runAndKill(20 + ((kill * 97) % 400), told)));
  await using world = await UsageWorld.open(folder.path);
  for (const { record, progress, segment } of world.former.unfinished)
    world.journal.outbox.addLost(segment, lostRecord(record, progress));
  const finals = ledger();
  for (const record of await world.ship())
    finals.set(record.requestId, [...(finals.get(record.requestId) ?? []), record]);
  expect(told.size).toBeGreaterThan(kills * 50);
  for (const [id, { tokens, ended }] of told) {
    const records = (finals.get(id) ?? []).filter(({ endReason }) => endReason !== EndReason.UNSPECIFIED);
    const ends = new Set(records.map((record) => `${record.endReason} ${record.tokens?.completionTokens}`));
    // Once, however often it was shipped.
    expect([id, ends.size]).toEqual([id, 1]);
    const [record] = records;
    const counted = Number(record?.tokens?.completionTokens);
    if (ended) expect([id, record?.endReason, counted]).toEqual([id, EndReason.COMPLETED, tokens]);
    else {
      // It may have gone on, and even ended, and not lived to tell.
      expect(counted).toBeGreaterThanOrEqual(tokens);
      if (record?.endReason === EndReason.LOST) lost += 1;
    }
  }
  expect(lost).toBeGreaterThan(kills);
  expect(troubles.filter((line) => !line.startsWith("trouble torn"))).toEqual([]);
  console.log(
    `${told.size} requests were acknowledged over ${kills} kills; ${lost} of them were lost with their process`,
  );
}, 240_000);
