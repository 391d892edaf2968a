import { copyFileSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { create, fromBinary } from "@bufbuild/protobuf";
import { PrincipalSchema } from "../../gen/ts/weir/auth/v1/principal_pb.ts";
import { type UsageRecord, UsageRecordSchema } from "../../gen/ts/weir/usage/v1/usage_record_pb.ts";
import { textDelta } from "../../services/drivers/events.ts";
import type { Former } from "../../services/router/journal/former.ts";
import type { Journal, JournalOptions } from "../../services/router/journal/journal.ts";
import { openJournal } from "../../services/router/journal/open.ts";
import type { Segment } from "../../services/router/journal/segment.ts";
import type { JournalTrouble } from "../../services/router/journal/segment-chain.ts";
import { createMeter, type Meter } from "../../services/router/metering/meter.ts";
import type { RequestUsage } from "../../services/router/usage/request-usage.ts";
import { UsageJournal } from "../../services/router/usage/usage-journal.ts";
import { createIdSource } from "../../services/runtime/ids.ts";
import { SimulatedClock } from "./simulated-clock.ts";

/** A folder for one test's journal. */
export class JournalFolder implements Disposable {
  readonly path: string = mkdtempSync(join(tmpdir(), "weir-journal-"));

  /** The names of its segments, oldest first. */
  get segments(): string[] {
    return readdirSync(this.path)
      .filter((name) => name.endsWith(".journal"))
      .sort();
  }

  /** What was put aside. */
  get dead(): string[] {
    const folder = join(this.path, "dead");
    return existsSync(folder) ? readdirSync(folder).sort() : [];
  }

  /** What a kill at this moment would leave. */
  copy(): JournalFolder {
    const copy = new JournalFolder();
    for (const name of this.segments) copyFileSync(join(this.path, name), join(copy.path, name));
    return copy;
  }

  add(name: string, bytes: Buffer): void {
    writeFileSync(join(this.path, name), bytes);
  }

  /** Changes a segment's bytes. */
  change(name: string, change: (bytes: Buffer) => Buffer): void {
    const path = join(this.path, name);
    writeFileSync(path, change(readFileSync(path)));
  }

  [Symbol.dispose](): void {
    rmSync(this.path, { recursive: true, force: true });
  }
}

const principal = create(PrincipalSchema, { orgId: "acme", projectId: "acme-one", keyId: "k1" });

/** One process's life with a journal: requests write into it, and a test ships. Time is simulated, files are real. */
export class UsageWorld implements AsyncDisposable {
  readonly journal: Journal<RequestUsage>;
  readonly former: Former;
  readonly usage: UsageJournal;
  readonly clock: SimulatedClock;
  readonly troubles: JournalTrouble[];
  readonly #ids;
  #random = 1;

  private constructor(
    { journal, former }: { journal: Journal<RequestUsage>; former: Former },
    clock: SimulatedClock,
    troubles: JournalTrouble[],
  ) {
    this.journal = journal;
    this.former = former;
    this.clock = clock;
    this.troubles = troubles;
    this.usage = new UsageJournal(journal, clock);
    this.#ids = createIdSource({
      clock,
      randomBytes: (length) => Buffer.alloc(length, (this.#random = (this.#random + 1) & 0xff)),
    });
  }

  static async open(
    folder: string,
    over: Partial<JournalOptions> & { readonly clock?: SimulatedClock } = {},
  ): Promise<UsageWorld> {
    const troubles: JournalTrouble[] = [];
    const clock = over.clock ?? new SimulatedClock();
    const opened = await openJournal<RequestUsage>({
      folder,
      bytesMax: 64 * 1024 * 1024,
      segmentBytes: 256 * 1024,
      clock,
      run: `run${Math.random().toString(36).slice(2, 11)}`.padEnd(12, "0"),
      schedule: () => undefined,
      trouble: (trouble) => void troubles.push(trouble),
      ...over,
    });
    return new UsageWorld(opened, clock, troubles);
  }

  /** A request that was dispatched; nothing is written before `journal.flush`. */
  begin(requestId: string = this.#ids.uuidv7()): { usage: RequestUsage; meter: Meter; receive(tokens: number): void } {
    const request = {
      requestId,
      principal,
      requestedModel: "chat",
      operation: "generate" as const,
    };
    const usage = this.usage.begin(request, "weir-sim");
    const meter = createMeter({
      prompt: { bytes: 400, tokens: undefined },
      bytesPerToken: 4,
      promptMax: 0,
      completionMax: 0,
    });
    usage.dispatches("replica-0", "weir-sim", meter);
    return {
      usage,
      meter,
      receive(tokens) {
        const { event } = textDelta(0, "x", tokens);
        if (event.case === "delta") meter.add(event.value);
        usage.progress();
      },
    };
  }

  /** A request from begin to end. Returns its id. */
  run(tokens = 3, requestId?: string): string {
    const { usage, meter, receive } = this.begin(requestId);
    for (let i = 0; i < tokens; i++) receive(1);
    usage.tryOver(meter.counts(), 0, true);
    usage.end(undefined);
    return usage.requestId;
  }

  /** Takes all that is to be shipped, and acknowledges it unless told not to. */
  async ship(acknowledge = true): Promise<UsageRecord[]> {
    const records: UsageRecord[] = [];
    const segments = new Map<Segment, number>();
    for (let taken = this.journal.outbox.take(1_000, 1e6); taken; taken = this.journal.outbox.take(1_000, 1e6)) {
      if (!("records" in taken)) {
        await this.journal.read(taken);
        continue;
      }
      records.push(...taken.records.map((bytes) => fromBinary(UsageRecordSchema, bytes)));
      for (const [segment, count] of taken.segments) segments.set(segment, (segments.get(segment) ?? 0) + count);
    }
    if (acknowledge) this.journal.acknowledged(segments);
    return records;
  }

  /** Ends in order. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.journal[Symbol.asyncDispose]();
  }
}
