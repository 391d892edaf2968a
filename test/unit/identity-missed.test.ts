import { afterEach, beforeEach, expect, test } from "vitest";
import { ErrorReason } from "../../gen/ts/weir/error/v1/error_pb.ts";
import { idOf, type IdentityProcess, startIdentity, told } from "../fakes/identity-process.ts";
import type { SimulatedClock } from "../fakes/simulated-clock.ts";
import type { FakeCredentialStore } from "../fakes/credential-store.ts";

/* Revocations that the watch never tells: the store that told up to a revision is not the one that tells on. */

let clock: SimulatedClock;
let store: FakeCredentialStore;
let identity: IdentityProcess["identity"];
let ask: IdentityProcess["ask"];
let askWarm: IdentityProcess["askWarm"];

beforeEach(() => {
  ({ clock, store, identity, ask, askWarm } = startIdentity());
});

afterEach(async () => {
  await identity[Symbol.asyncDispose]();
  expect(clock.pendingTimers).toBe(0);
});

/** Counts how often what runs with a key is cut. */
function cutsOf(key: string): { count: number } {
  const cuts = { count: 0 };
  identity.onRevoked(idOf(key), () => void (cuts.count += 1));
  return cuts;
}

/** The store loses a revision that it told, and gives its number to another revocation before anybody looks. */
function loseOneAndRevoke(key: string): void {
  store.revision -= 1n;
  store.revoke(key);
}

test("a store that lost what it told has every key looked up again, whatever revision it has reached since", async () => {
  const [key, lost, other] = [store.add("a"), store.add("b"), store.add("c")];
  await Promise.all([ask(key), ask(other)]);
  await clock.advanceAsync(1_000);
  const [cut, kept] = [cutsOf(key), cutsOf(other)];
  store.change(lost, { name: "new" });
  await clock.advanceAsync(1_000);
  loseOneAndRevoke(key);
  store.epoch = "second";
  await clock.advanceAsync(1_000);
  expect([cut.count, kept.count]).toEqual([1, 0]);
  expect(told(await ask(key))).toBe(ErrorReason.KEY_REVOKED);
  expect(told(await ask(other))).toBe(idOf(other));
});

test("a key that was revoked unnoticed is found out at its next use, also just after the store did not answer", async () => {
  const [key, other] = [store.add("a"), store.add("b")];
  await ask(key);
  await clock.advanceAsync(1_000);
  store.away = true;
  expect(told(await ask(other))).toBe(ErrorReason.AUTH_UNAVAILABLE);
  store.away = false;
  loseOneAndRevoke(key);
  store.epoch = "second";
  await clock.advanceAsync(600);
  expect(told(await ask(key))).toBe(ErrorReason.KEY_REVOKED);
});

test("what begins while the store is away with a key that was revoked unnoticed is cut when it is back", async () => {
  const key = store.add("a");
  await ask(key);
  await clock.advanceAsync(1_000);
  loseOneAndRevoke(key);
  store.epoch = "second";
  await clock.advanceAsync(600);
  store.away = true;
  expect(told(await ask(key))).toBe(idOf(key));
  const cut = cutsOf(key);
  await clock.advanceAsync(10_000);
  expect(cut.count).toBe(0);
  store.away = false;
  await clock.advanceAsync(2_000);
  expect(cut.count).toBe(1);
});

test("an answer of the store that lost what it told is not used", async () => {
  const key = store.add("a");
  await clock.advanceAsync(1_000);
  const late = Promise.withResolvers<void>();
  store.delay = late.promise;
  const answer = ask(key);
  await clock.advanceAsync(1);
  loseOneAndRevoke(key);
  store.epoch = "second";
  await clock.advanceAsync(600);
  store.delay = undefined;
  late.resolve();
  expect(told(await answer)).toBe(ErrorReason.KEY_REVOKED);
});

test("a key that a store has revoked no more is good again", async () => {
  const key = store.add("a");
  await ask(key);
  await clock.advanceAsync(1_000);
  store.revoke(key);
  await clock.advanceAsync(1_000);
  expect(told(askWarm(key))).toBe(ErrorReason.KEY_REVOKED);
  store.change(key, { revokeMs: undefined });
  store.epoch = "restored";
  await clock.advanceAsync(1_000);
  expect(told(await ask(key))).toBe(idOf(key));
  const cut = cutsOf(key);
  await clock.advanceAsync(1_000);
  expect(cut.count).toBe(0);
});

test("a key that is looked up and found revoked is cut, also if the watch is silent", async () => {
  const key = store.add("a");
  await ask(key);
  await clock.advanceAsync(1_000);
  const cut = cutsOf(key);
  store.watchDelay = new Promise(() => {});
  await clock.advanceAsync(10_000);
  store.revoke(key);
  expect(told(await ask(key))).toBe(ErrorReason.KEY_REVOKED);
  expect(cut.count).toBe(1);
});

test("keys that are used are asked about again within minutes, and nobody waits for it", async () => {
  const keys = Array.from({ length: 40 }, (_, n) => store.add(`k${n}x`));
  await Promise.all(keys.map((key) => ask(key)));
  await clock.advanceAsync(1_000);
  for (const key of keys.slice(0, 20)) loseOneAndRevoke(key);
  let most = 0;
  for (let seconds = 0; seconds < 300; seconds++) {
    const before = store.finds;
    for (const key of keys) askWarm(key);
    await clock.advanceAsync(1_000);
    most = Math.max(most, store.finds - before);
  }
  expect(keys.map((key) => told(askWarm(key)))).toEqual(
    keys.map((key, n) => (n < 20 ? ErrorReason.KEY_REVOKED : idOf(key))),
  );
  // Spread out: 40 keys over two minutes.
  expect(most).toBeLessThan(8);
  expect(store.finds).toBeLessThan(40 * 4);
});

test("a key that was not used for long is asked about first", async () => {
  const key = store.add("a");
  await ask(key);
  await clock.advanceAsync(1_000);
  loseOneAndRevoke(key);
  await clock.advanceAsync(360_000);
  expect(told(await ask(key))).toBe(ErrorReason.KEY_REVOKED);
});

test("what runs with a key is cut within minutes, although nobody presents the key again", async () => {
  const [key, other] = [store.add("a"), store.add("b")];
  await Promise.all([ask(key), ask(other)]);
  await clock.advanceAsync(1_000);
  const [cut, kept] = [cutsOf(key), cutsOf(other)];
  loseOneAndRevoke(key);
  await clock.advanceAsync(60_000);
  expect(cut.count).toBe(0);
  await clock.advanceAsync(180_000);
  expect([cut.count, kept.count]).toEqual([1, 0]);
  expect(told(askWarm(key))).toBe(ErrorReason.KEY_REVOKED);
});
