import { fromBinary } from "@bufbuild/protobuf";
import { afterEach, beforeEach, expect, test } from "vitest";
import { ErrorReason } from "../../../../gen/ts/weir/error/v1/error_pb.ts";
import { UsageRecordSchema, UsageState } from "../../../../gen/ts/weir/usage/v1/usage_record_pb.ts";
import type { RequestUsage } from "../../../../services/router/usage/request-usage.ts";
import { Shipper } from "../../../../services/router/usage/shipper.ts";
import { fail } from "../../../../services/runtime/errors/fail.ts";
import { seededRandom } from "../../../fakes/seeded-random.ts";
import { JournalFolder, UsageWorld } from "../../../fakes/usage-world.ts";

let folder: JournalFolder;
let world: UsageWorld;

beforeEach(async () => {
  folder = new JournalFolder();
  world = await UsageWorld.open(folder.path, { segmentBytes: 4 * 1024 * 1024 });
});
afterEach(async () => {
  await world[Symbol.asyncDispose]();
  folder[Symbol.dispose]();
});

const settled = () => new Promise<void>((resolve) => setImmediate(resolve));

/** A message on its way to the ledger. */
interface Message {
  readonly records: Uint8Array[];
  readonly completeUntilMs: number;
  stored(): void;
  lost(): void;
}

/** A ledger that answers when and as it is told, with what it has and what it was promised. */
class ToldLedger {
  readonly waiting: Message[] = [];
  readonly ended = new Set<string>();
  completeMs = 0;

  readonly send = (records: Uint8Array[], completeUntilMs: number) =>
    new Promise<readonly never[]>((resolve, reject) => {
      this.waiting.push({
        records,
        completeUntilMs,
        stored: () => {
          this.#keep(records, completeUntilMs);
          resolve([]);
        },
        lost: () => reject(fail(ErrorReason.STORE_UNAVAILABLE)),
      });
    });

  #keep(records: readonly Uint8Array[], completeUntilMs: number): void {
    for (const bytes of records) {
      const { requestId, state } = fromBinary(UsageRecordSchema, bytes);
      if (state === UsageState.FINAL) this.ended.add(requestId);
    }
    this.completeMs = Math.max(this.completeMs, completeUntilMs);
  }

  /** Requests whose end it was promised, and does not have. */
  missing(requests: Iterable<RequestUsage>): string[] {
    const promised = [...requests].filter(({ admitMs }) => admitMs < this.completeMs);
    return promised.filter(({ requestId }) => !this.ended.has(requestId)).map(({ requestId }) => requestId);
  }
}

test.each([1, 2, 3, 4, 5, 6])(
  "nothing that was admitted before what a node calls complete is untold (%i)",
  async (seed) => {
    const random = seededRandom(seed);
    const ledger = new ToldLedger();
    const shipper = new Shipper({
      clock: world.clock,
      chance: () => random.below(100) / 100,
      journal: world.journal,
      send: ledger.send,
      news: { away: () => {}, back: () => {}, unreadable: () => {}, setAside: () => {} },
    });
    world.journal.onFinal = shipper.wake;
    world.usage.onBegin = shipper.watch;
    const begun = new Set<RequestUsage>();
    const running = new Set<RequestUsage>();
    for (let step = 0; step < 400; step++) {
      const away = Math.floor(step / 40) % 3 === 1;
      for (let count = random.below(step % 7 === 0 ? 1_500 : 4); count > 0; count--) {
        const { usage } = world.begin();
        begun.add(usage);
        running.add(usage);
      }
      for (const usage of running) {
        // A few last for long.
        if (random.below(200) < (usage.handle % 50 === 0 ? 20 : 150)) {
          usage.end(undefined);
          running.delete(usage);
        }
      }
      world.journal.flush();
      world.clock.advance(random.below(4) === 0 ? random.below(30_000) : random.below(400));
      await settled();
      for (let answers = random.below(6); answers > 0 && ledger.waiting.length > 0; answers--) {
        const [message] = ledger.waiting.splice(random.below(ledger.waiting.length), 1);
        if (away || random.below(8) === 0) message?.lost();
        else message?.stored();
        await settled();
        expect(ledger.missing(begun)).toEqual([]);
      }
    }
    expect(ledger.completeMs).toBeGreaterThan(world.clock.nowMs() - 600_000);
  },
);
