import { afterAll, beforeAll, expect, test } from "vitest";
import type { WatchRevocationsResponse } from "../../gen/ts/weir/auth/v1/auth_service_pb.ts";
import { ErrorReason } from "../../gen/ts/weir/error/v1/error_pb.ts";
import { fail } from "../../services/runtime/errors/fail.ts";
import { withCallOptions } from "../../services/runtime/mesh/call-options.ts";
import { withStream } from "../../services/runtime/mesh/with-stream.ts";
import { type AuthHarness, principal, startAuth } from "./auth-harness.ts";

let harness: AuthHarness;

beforeAll(async () => {
  harness = await startAuth();
});
afterAll(() => harness[Symbol.asyncDispose]());

const asAdmin = withCallOptions({ principal: principal() });
let requests = 0;

async function newKey() {
  const { key, secret } = await harness.keys.createKey({ requestId: `request-${++requests}`, name: "k" }, asAdmin);
  if (!key) throw new Error("no key");
  return { key, secret };
}

/** Reads the watch until `enough`. */
function watch(
  afterRevision: bigint,
  enough: (heard: readonly WatchRevocationsResponse[]) => boolean,
  epoch = "",
): Promise<WatchRevocationsResponse[]> {
  return withStream(
    AbortSignal.timeout(20_000),
    (signal) => harness.auth.watchRevocations({ afterRevision, epoch }, { signal }),
    async (messages) => {
      const heard: WatchRevocationsResponse[] = [];
      for await (const message of messages) {
        heard.push(message);
        if (enough(heard)) return heard;
      }
      throw fail(ErrorReason.INTERNAL);
    },
  );
}

test("a watch from nowhere begins with a reset, and beats", async () => {
  const started = performance.now();
  const heard = await watch(0n, (messages) => messages.length === 4);
  expect(heard.map(({ event }) => event.case)).toEqual(["reset", "snapshotEnd", "heartbeat", "heartbeat"]);
  const { revision } = await harness.auth.authenticate({ key: (await newKey()).secret });
  expect(heard[0]?.revision).toBe(revision - 1n);
  expect(performance.now() - started).toBeGreaterThan(900);
  expect(heard.every(({ storeTime }) => storeTime !== undefined)).toBe(true);
});

test("a watch goes on from where it was, and tells changes as they happen", async () => {
  const missed = (await newKey()).key;
  const live = (await newKey()).key;
  const { revision } = (await watch(0n, () => true))[0] ?? { revision: 0n };
  await harness.keys.revokeKey({ keyId: missed.id }, asAdmin);
  const watching = watch(revision, (messages) => {
    if (messages.length === 2) {
      void harness.keys.updateKey({ keyId: live.id, name: "n", updateMask: { paths: ["name"] } }, asAdmin);
    }
    return messages.filter(({ event }) => event.case === "change").length === 2;
  });
  const heard = (await watching).filter(({ event }) => event.case !== "heartbeat");
  expect(heard.map(({ event, revision: at }) => [event.case, event.value, at])).toMatchObject([
    ["change", { keyId: missed.id, revoked: true }, revision + 1n],
    ["snapshotEnd", {}, revision + 1n],
    ["change", { keyId: live.id, revoked: false }, revision + 2n],
  ]);
});

test("a watch from a revision that the store has lost begins with a reset", async () => {
  const [first] = await watch(2n ** 40n, () => true);
  expect(first?.event.case).toBe("reset");
  expect(first?.revision).toBeLessThan(2n ** 40n);
});

test("a watch from another epoch begins with a reset, whatever its revision; one of the same goes on", async () => {
  const { revision, epoch } = await harness.auth.authenticate({ key: (await newKey()).secret });
  expect(epoch).not.toBe("");
  const { key } = await newKey();
  await harness.keys.revokeKey({ keyId: key.id }, asAdmin);
  const [same] = await watch(revision, () => true, epoch);
  expect(same?.event).toMatchObject({ case: "change", value: { keyId: key.id } });
  const [other] = await watch(revision, () => true, "another");
  expect(other).toMatchObject({ event: { case: "reset" }, epoch });
});

test("of some keys, those that were revoked or are not there are told", async () => {
  const [good, revoked] = [(await newKey()).key, (await newKey()).key];
  await harness.keys.revokeKey({ keyId: revoked.id }, asAdmin);
  const { keyIds } = await harness.auth.findRevoked({ keyIds: [good.id, revoked.id, "nobody"] });
  expect([...keyIds].sort()).toEqual([revoked.id, "nobody"].sort());
  expect((await harness.auth.findRevoked({ keyIds: [] })).keyIds).toEqual([]);
});
