import { afterEach, beforeEach, expect, test } from "vitest";
import { ErrorReason } from "../../gen/ts/weir/error/v1/error_pb.ts";
import type { WeirError } from "../../services/runtime/errors/fail.ts";
import { idOf, type IdentityProcess, staleMaxMs, startIdentity, told } from "../fakes/identity-process.ts";
import type { SimulatedClock } from "../fakes/simulated-clock.ts";
import type { FakeCredentialStore } from "../fakes/credential-store.ts";

let clock: SimulatedClock;
let store: FakeCredentialStore;
let identity: IdentityProcess["identity"];
let ask: IdentityProcess["ask"];
let askWarm: IdentityProcess["askWarm"];
let lines: IdentityProcess["lines"];

function start(badKeysPerMinuteMax?: number): void {
  ({ clock, store, identity, ask, askWarm, lines } = startIdentity(badKeysPerMinuteMax));
}

beforeEach(() => start());

afterEach(async () => {
  await identity[Symbol.asyncDispose]();
  // What hangs in the store keeps its call's deadline.
  if (!store.hangs) expect(clock.pendingTimers).toBe(0);
});

test("with the store away known keys go on for ten minutes, and unknown ones are 503, not 401", async () => {
  const key = store.add("a");
  const unseen = store.add("b");
  await ask(key);
  await clock.advanceAsync(1_000);
  store.away = true;
  await clock.advanceAsync(1_900);
  expect(told(askWarm(key))).toBe(idOf(key));
  const unknown = await ask(unseen);
  expect(unknown).toMatchObject({ reason: ErrorReason.AUTH_UNAVAILABLE, retryAfterMs: 1_000 });
  await clock.advanceAsync(10_000);
  expect(told(await ask(key))).toBe(idOf(key));
  const finds = store.finds;
  for (let n = 0; n < 50; n++) expect(told(askWarm(key))).toBe(idOf(key));
  expect(store.finds).toBe(finds);
  await clock.advanceAsync(1_001);
  expect(told(await ask(key))).toBe(idOf(key));
  expect(store.finds).toBe(finds + 1);
  await clock.advanceAsync(staleMaxMs);
  expect(told(await ask(key))).toBe(ErrorReason.AUTH_UNAVAILABLE);
  expect(told(askWarm(key))).toBe(ErrorReason.AUTH_UNAVAILABLE);
  store.away = false;
  await clock.advanceAsync(2_000);
  expect(told(await ask(key))).toBe(idOf(key));
  expect(told(await ask(unseen))).toBe(idOf(unseen));
});

test("a store that comes up and goes away again takes no known key with it", async () => {
  const [key, unused] = [store.add("a"), store.add("b")];
  await Promise.all([ask(key), ask(unused)]);
  await clock.advanceAsync(1_000);
  for (const epoch of ["second", "third", "fourth"]) {
    store.away = true;
    await clock.advanceAsync(5_000);
    store.away = false;
    store.epoch = epoch;
    await clock.advanceAsync(1_200);
    store.away = true;
    expect(told(await ask(key))).toBe(idOf(key));
  }
  // Nobody has vouched for it since the first outage began, 18.6 s ago.
  await clock.advanceAsync(staleMaxMs - 19_000);
  expect(told(await ask(unused))).toBe(idOf(unused));
  await clock.advanceAsync(1_000);
  expect(told(await ask(unused))).toBe(ErrorReason.AUTH_UNAVAILABLE);
  store.away = false;
  await clock.advanceAsync(2_000);
  const finds = store.finds;
  for (let n = 0; n < 3; n++) expect(told(await ask(unused))).toBe(idOf(unused));
  expect(store.finds).toBe(finds + 1);
});

test("a key's end is judged also while it cannot be checked", async () => {
  const key = store.add("a", { expireMs: store.nowMs + 30_000 });
  await ask(key);
  store.away = true;
  await clock.advanceAsync(29_000);
  expect(told(await ask(key))).toBe(idOf(key));
  await clock.advanceAsync(1_000);
  expect(told(await ask(key))).toBe(ErrorReason.KEY_EXPIRED);
});

test("what was revoked during an outage is refused within two seconds of its end", async () => {
  const key = store.add("a");
  await ask(key);
  await clock.advanceAsync(1_000);
  const cut: WeirError[] = [];
  identity.onRevoked(idOf(key), (error) => cut.push(error));
  store.away = true;
  await clock.advanceAsync(60_000);
  store.revoke(key);
  expect(told(await ask(key))).toBe(idOf(key));
  store.away = false;
  await clock.advanceAsync(2_000);
  expect(told(askWarm(key))).toBe(ErrorReason.KEY_REVOKED);
  expect(cut).toHaveLength(1);
});

test("while the watch alone is silent, a key is checked every two seconds", async () => {
  const key = store.add("a");
  await ask(key);
  await clock.advanceAsync(1_000);
  store.watchDelay = new Promise(() => {});
  await clock.advanceAsync(10_000);
  const finds = store.finds;
  expect(told(await ask(key))).toBe(idOf(key));
  for (let n = 0; n < 10; n++) expect(told(askWarm(key))).toBe(idOf(key));
  expect(store.finds).toBe(finds + 1);
  store.revoke(key);
  await clock.advanceAsync(2_001);
  expect(told(await ask(key))).toBe(ErrorReason.KEY_REVOKED);
  store.hangs = true;
});

/** Asks: the answer has to come after 300 ms, and not before. */
async function expectAnswerIn300Ms(key: string, answer: string | ErrorReason): Promise<void> {
  let answered: string | ErrorReason | undefined;
  void ask(key).then((principal) => {
    answered = told(principal);
  });
  await clock.advanceAsync(299);
  expect(answered).toBeUndefined();
  await clock.advanceAsync(2);
  expect(answered).toBe(answer);
}

test("a store that hangs holds a known key up for 300 ms, once a second", async () => {
  const key = store.add("a");
  await ask(key);
  await clock.advanceAsync(1_000);
  store.hangs = true;
  await clock.advanceAsync(10_000);
  await expectAnswerIn300Ms(key, idOf(key));
  expect(told(askWarm(key))).toBe(idOf(key));
});

test("nobody waits longer for a known key because a question that nobody waits for is on its way", async () => {
  const key = store.add("a");
  await ask(key);
  // Long enough ago for it to be looked up aside.
  await clock.advanceAsync(250_000);
  const slow = Promise.withResolvers<void>();
  store.delay = slow.promise;
  expect(told(askWarm(key))).toBe(idOf(key));
  await clock.advanceAsync(0);
  expect(store.finds).toBe(2);
  store.epoch = "second";
  await clock.advanceAsync(600);
  await expectAnswerIn300Ms(key, idOf(key));
  expect(store.finds).toBe(2);
  slow.resolve();
  await clock.advanceAsync(0);
});

test("an answer that comes too late for who asked is kept: what was revoked is refused from then on", async () => {
  const key = store.add("a");
  await ask(key);
  await clock.advanceAsync(1_000);
  store.watchDelay = new Promise(() => {});
  await clock.advanceAsync(10_000);
  store.revoke(key);
  const slow = Promise.withResolvers<void>();
  store.delay = slow.promise;
  await expectAnswerIn300Ms(key, idOf(key));
  slow.resolve();
  await clock.advanceAsync(0);
  expect(told(askWarm(key))).toBe(ErrorReason.KEY_REVOKED);
  store.hangs = true;
});

/** Whether the process takes the auth service for gone, as far as its log tells. */
const toldAway = () => lines.some((line) => /keys can(not)? be checked/.test(line));

test("a key of a pepper that the auth service lacks is asked about once a second, and other keys feel nothing", async () => {
  const [key, other] = [store.add("a"), store.add("b")];
  store.foreign.add(idOf(key));
  await ask(other);
  await clock.advanceAsync(1_000);
  for (let n = 0; n < 20; n++) {
    expect(await ask(key)).toMatchObject({ reason: ErrorReason.AUTH_UNAVAILABLE, retryAfterMs: 1_000 });
  }
  expect(store.finds).toBe(2);
  await clock.advanceAsync(1_000);
  expect(told(await ask(key))).toBe(ErrorReason.AUTH_UNAVAILABLE);
  expect(store.finds).toBe(3);
  // A key that is to be looked up is looked up.
  store.epoch = "second";
  await clock.advanceAsync(600);
  expect(told(await ask(key))).toBe(ErrorReason.AUTH_UNAVAILABLE);
  expect(told(await ask(other))).toBe(idOf(other));
  expect(store.finds).toBe(4);
  expect(toldAway()).toBe(false);
  store.foreign.clear();
  await clock.advanceAsync(1_000);
  expect(told(await ask(key))).toBe(idOf(key));
});

test("a known key goes on for ten minutes when its pepper is missing, and is asked about once a second", async () => {
  const key = store.add("a");
  await ask(key);
  await clock.advanceAsync(1_000);
  store.foreign.add(idOf(key));
  // Nor is it looked up aside at every use.
  await clock.advanceAsync(250_000);
  for (let n = 0; n < 20; n++) {
    expect(told(askWarm(key))).toBe(idOf(key));
    await clock.advanceAsync(0);
  }
  expect(store.finds).toBe(2);
  store.watchDelay = new Promise(() => {});
  await clock.advanceAsync(10_000);
  for (let n = 0; n < 20; n++) expect(told(await ask(key))).toBe(idOf(key));
  expect(store.finds).toBe(3);
  expect(toldAway()).toBe(false);
  await clock.advanceAsync(staleMaxMs);
  expect(told(await ask(key))).toBe(ErrorReason.AUTH_UNAVAILABLE);
  store.hangs = true;
});

test("keys that are looked up in vain for want of a pepper cost the address its budget", async () => {
  await identity[Symbol.asyncDispose]();
  start(5);
  const keys = Array.from({ length: 10 }, (_, n) => store.add(`k${n}x`));
  for (const key of keys) store.foreign.add(idOf(key));
  const answers = [];
  for (const key of keys) answers.push(told(await ask(key)));
  expect(answers).toEqual([
    ...Array.from({ length: 5 }, () => ErrorReason.AUTH_UNAVAILABLE),
    ...Array.from({ length: 5 }, () => ErrorReason.TOO_MANY_BAD_CREDENTIALS),
  ]);
  expect(store.finds).toBe(5);
});
