import { create } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { PrincipalSchema } from "../../../gen/ts/weir/auth/v1/principal_pb.ts";
import { Dimension, type Limit, LimitSchema, Operation } from "../../../gen/ts/weir/quota/v1/limit_pb.ts";
import { type WatchLeasesResponse, WatchLeasesResponseSchema } from "../../../gen/ts/weir/quota/v1/quota_service_pb.ts";
import { createMemoryQuotaStore } from "../../../services/quota/store-memory.ts";
import type { Grant } from "../../../services/router/quota/grant.ts";
import { PendingGrant } from "../../../services/router/quota/pending-grant.ts";
import { QuotaHolder } from "../../../services/router/quota/quota.ts";
import { WeirError } from "../../../services/runtime/errors/fail.ts";
import { systemIds } from "../../../services/runtime/ids.ts";
import type { Sink } from "../../../services/runtime/mesh/push.ts";
import { storeClient } from "../../fakes/quota-client.ts";
import { SimulatedClock } from "../../fakes/simulated-clock.ts";

const limit: Limit = create(LimitSchema, {
  id: "l",
  revision: 1n,
  spec: {
    dimension: Dimension.REQUESTS,
    ceiling: { case: "count", value: 10n },
    window: { case: "rate", value: { per: { seconds: 3_600n } } },
  },
});
const principal = create(PrincipalSchema, { orgId: "o", projectId: "p", keyId: "k" });

/** A node that is started, killed and started again; the store outlives it. */
class Node {
  readonly notes: Buffer[] = [];
  readonly reported: string[] = [];
  readonly #clock = new SimulatedClock();
  readonly #store = createMemoryQuotaStore({ clock: this.#clock, ids: systemIds });
  #sink: Sink<WatchLeasesResponse> | undefined;
  /** The store can't be reached by reports. */
  deaf = false;

  start(holderId: string): QuotaHolder {
    const client = storeClient(this.#store, [limit]);
    return new QuotaHolder({
      client: {
        ...client,
        returnLease: (request) => {
          if (this.deaf) throw new Error("cut");
          this.reported.push(...(request.reports ?? []).map(({ leaseId }) => `${request.nodeId} ${leaseId}`));
          return client.returnLease(request);
        },
      },
      watch: (sink) => {
        this.#sink = sink;
        return () => undefined;
      },
      clock: this.#clock,
      ids: systemIds,
      holderId,
      journal: {
        wait: (waiter) => {
          waiter.append();
          waiter.flushed();
        },
        note: (note) => this.notes.push(Buffer.from(note)) > 0,
      },
      notes: [...this.notes],
      news: { away: () => undefined, back: () => undefined, lost: () => undefined },
    });
  }

  /** The watch says that it is there. */
  async beat(): Promise<void> {
    this.#sink?.event(create(WatchLeasesResponseSchema, { event: { case: "snapshotEnd", value: {} } }));
    await turns();
  }
}

async function turns(): Promise<void> {
  for (let i = 0; i < 20; i++) await new Promise((resolve) => setImmediate(resolve));
}

/** How many of `asked` requests a holder lets through, each of which then ends. */
async function admitted(holder: QuotaHolder, asked: number): Promise<number> {
  let count = 0;
  const tokens = { inputTokens: 1, outputTokens: 1 };
  for (let i = 0; i < asked; i++) {
    const given = await new Promise<Grant | undefined>((resolve) => {
      const taken = holder.take(
        {
          requestId: systemIds.uuidv7(),
          principal,
          model: "m",
          operation: Operation.GENERATE,
          expected: tokens,
          least: tokens,
        },
        { given: resolve, denied: () => resolve(undefined) },
      );
      if (taken instanceof WeirError) resolve(undefined);
      else if (!(taken instanceof PendingGrant)) resolve(taken);
    });
    given?.settle(tokens);
    count += given ? 1 : 0;
    await turns();
  }
  return count;
}

test("what a node spent before it was killed is not given to it again, and the rest comes back", async () => {
  const node = new Node();
  expect(await admitted(node.start("n.1"), 4)).toBe(4);
  const second = node.start("n.2");
  const before = await admitted(second, 20);
  expect(before).toBeLessThanOrEqual(6);
  await node.beat();
  expect(before + (await admitted(second, 20))).toBe(6);
});

test("what a dead process had noted is kept and told until the store has heard it", async () => {
  const node = new Node();
  await admitted(node.start("n.1"), 4);
  const second = node.start("n.2");
  node.deaf = true;
  await node.beat();
  expect(node.reported).toEqual([]);
  // The segment with its notes goes: what was not told is noted again, for a third process.
  node.notes.length = 0;
  second.repeatNotes();
  const third = node.start("n.3");
  node.deaf = false;
  await node.beat();
  await node.beat();
  expect(node.reported).toHaveLength(1);
  expect(node.reported[0]).toMatch(/^n\.1 /);
  expect(await admitted(third, 20)).toBe(6);
});

test("notes that can't be read are left out", async () => {
  const node = new Node();
  node.notes.push(Buffer.alloc(0), Buffer.alloc(16), Buffer.alloc(40, 0xff), Buffer.from("0123456789abcdef no-holder"));
  const holder = node.start("n.2");
  await node.beat();
  expect(node.reported).toEqual([]);
  expect(await admitted(holder, 20)).toBe(10);
});
