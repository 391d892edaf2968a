// A router's journal at full speed, for tests that kill it. Arguments: the journal's folder, and a file that stands for
// the ledger. It tells on standard output what the journal has acknowledged, a line each, before the next turn:
// "begun ID", "received ID TOKENS", "ended ID TOKENS". What it ships is appended to the ledger, base64, a line a record.
import { openSync, writeSync } from "node:fs";
import { create } from "@bufbuild/protobuf";
import { PrincipalSchema } from "../../gen/ts/weir/auth/v1/principal_pb.ts";
import { textDelta } from "../../services/drivers/events.ts";
import { openJournal } from "../../services/router/journal/open.ts";
import { createMeter, type Meter } from "../../services/router/metering/meter.ts";
import { lostRecord } from "../../services/router/usage/lost.ts";
import type { RequestUsage } from "../../services/router/usage/request-usage.ts";
import { Shipper } from "../../services/router/usage/shipper.ts";
import { UsageJournal } from "../../services/router/usage/usage-journal.ts";
import { systemClock } from "../../services/runtime/clock.ts";
import { systemChance, systemIds } from "../../services/runtime/ids.ts";

const [, , folder = "", ledgerPath = ""] = process.argv;
const ledger = openSync(ledgerPath, "a");
const tell = (line: string) => void process.stdout.write(`${line}\n`);

const { journal, former } = await openJournal<RequestUsage>({
  folder,
  // More than a fast machine can fill faster than it is shipped, so that there is always room.
  bytesMax: 1024 * 1024 * 1024,
  segmentBytes: 256 * 1024,
  clock: systemClock,
  run: systemIds.short(12),
  schedule: (run) => void setImmediate(run),
  trouble: (trouble) => tell(`trouble ${trouble.what} ${String(trouble.error ?? "")}`),
});
for (const { record, progress, segment } of former.unfinished)
  journal.outbox.addLost(segment, lostRecord(record, progress));
const usage = new UsageJournal(journal, systemClock);
const shipper = new Shipper({
  clock: systemClock,
  chance: systemChance,
  journal,
  send: async (records) => {
    await new Promise((resolve) => setTimeout(resolve, 20));
    // Some batches are stored, and their answer is lost.
    writeSync(ledger, records.map((bytes) => `${Buffer.from(bytes).toString("base64")}\n`).join(""));
    if (Math.random() < 0.2) throw new Error("the answer was lost");
    return [];
  },
  news: { away: () => undefined, back: () => undefined, unreadable: () => undefined, setAside: () => undefined },
});
journal.onFinal = shipper.wake;
usage.onBegin = shipper.watch;
shipper.wake();
tell("open");

const principal = create(PrincipalSchema, { orgId: "acme", projectId: "acme-one", keyId: "k1" });
const running: { usage: RequestUsage; meter: Meter; tokens: number }[] = [];

function turn(): void {
  const lines: string[] = [];
  while (running.length < 24 && usage.refusal() === undefined) {
    const times = { startMs: systemClock.monotonicMs(), admitMs: systemClock.nowMs() };
    const requestId = systemIds.uuidv7();
    const one = usage.begin(
      { requestId, principal, requestedModel: "chat", operation: "generate", ...times },
      "weir-sim",
    );
    const prompt = { bytes: 400, tokens: undefined };
    const meter = createMeter({ prompt, bytesPerToken: 4, promptMax: 0, completionMax: 0 });
    if (one.dispatches("replica-0", "weir-sim", meter)) lines.push(`begun ${requestId}`);
    running.push({ usage: one, meter, tokens: 0 });
  }
  for (const one of running) {
    const { event } = textDelta(0, "x", 1);
    if (event.case === "delta") one.meter.add(event.value);
    one.tokens += 1;
    one.usage.progress();
    lines.push(`received ${one.usage.requestId} ${one.tokens}`);
  }
  for (let i = 0; i < 4; i++) {
    const [one] = running.splice(Math.floor(Math.random() * running.length), 1);
    if (one === undefined) continue;
    one.usage.tryOver(one.meter.counts(), 0, true);
    one.usage.end(undefined);
    lines.push(`ended ${one.usage.requestId} ${one.tokens}`);
  }
  journal.wait({
    append: () => undefined,
    flushed() {
      tell(lines.join("\n"));
      setImmediate(turn);
    },
  });
}
turn();
