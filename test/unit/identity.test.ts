import { createHmac } from "node:crypto";
import { afterEach, beforeEach, expect, test } from "vitest";
import { ErrorReason } from "../../gen/ts/weir/error/v1/error_pb.ts";
import { WeirError } from "../../services/runtime/errors/fail.ts";
import { formatKey } from "../../services/runtime/identity/key-format.ts";
import { idOf, type IdentityProcess, pepper, startIdentity, told } from "../fakes/identity-process.ts";
import type { SimulatedClock } from "../fakes/simulated-clock.ts";
import type { FakeCredentialStore } from "../fakes/credential-store.ts";

let clock: SimulatedClock;
let store: FakeCredentialStore;
let identity: IdentityProcess["identity"];
let ask: IdentityProcess["ask"];
let askWarm: IdentityProcess["askWarm"];

function start(badKeysPerMinuteMax?: number): void {
  ({ clock, store, identity, ask, askWarm } = startIdentity(badKeysPerMinuteMax));
}

beforeEach(() => start());

afterEach(async () => {
  await identity[Symbol.asyncDispose]();
  expect(clock.pendingTimers).toBe(0);
});

test("a key is asked about once and known from then on", async () => {
  const key = store.add("a");
  const cold = await ask(key);
  expect(told(cold)).toBe(idOf(key));
  for (let n = 0; n < 100; n++) expect(askWarm(key)).toBe(cold);
  expect(store.finds).toBe(1);
});

test("a hundred callers with one cold key cost one look-up", async () => {
  const key = store.add("a");
  const answers = await Promise.all(Array.from({ length: 100 }, () => ask(key)));
  expect(new Set(answers).size).toBe(1);
  expect(store.finds).toBe(1);
});

test("a principal is nobody's to change", async () => {
  const principal = await ask(store.add("a"));
  if (principal instanceof WeirError) throw principal;
  expect(() => principal.permissions.push("*")).toThrow(TypeError);
  expect(() => principal.models?.names.push("*")).toThrow(TypeError);
  expect(() => Object.assign(principal, { projectId: "other" })).toThrow(TypeError);
});

test("two keys that begin alike are two keys", async () => {
  const [first, second] = [store.add("aaaaaaaaaaa1"), store.add("aaaaaaaaaaa2")];
  expect(told(await ask(first))).toBe("aaaaaaaaaaa1");
  expect(told(await ask(second))).toBe("aaaaaaaaaaa2");
  // The same id and two more characters, then another secret.
  const guess = formatKey(idOf(first), first.slice(18, 20).padEnd(30, "x"));
  expect(guess.slice(0, 20)).toBe(first.slice(0, 20));
  expect(told(await ask(guess))).toBe(ErrorReason.CREDENTIAL_INVALID);
  expect(told(askWarm(first))).toBe("aaaaaaaaaaa1");
});

const sample = formatKey("sample000000", "s".repeat(30));
const offline: readonly (readonly [what: string, credential: string])[] = [
  ["a bad checksum", `${sample.slice(0, -1)}${sample.endsWith("0") ? "1" : "0"}`],
  ["another prefix", sample.replace("weir_", "sk-a_")],
  ["10 KB", "weir_".padEnd(10_240, "a")],
  ["a NUL", `${sample.slice(0, 30)}\0${sample.slice(31)}`],
  ["a homoglyph", sample.replace("weir", "we\u0456r")],
  ["a SQL condition", "' OR 1=1--"],
  ["an escaped NUL", "\\x00"],
  ["a pattern", "%"],
  ["a parameter", "$1"],
  ["what the store holds of a key", createHmac("sha256", pepper).update(sample).digest("hex")],
  ["nothing", ""],
];

test.each(offline)("%s is refused and nobody is asked", (_what, credential) => {
  expect(told(askWarm(credential))).toBe(ErrorReason.CREDENTIAL_INVALID);
  expect(store.finds).toBe(0);
});

test("an unknown key is asked about once in five seconds", async () => {
  await clock.advanceAsync(1_000);
  expect(told(await ask(sample))).toBe(ErrorReason.CREDENTIAL_INVALID);
  for (let n = 0; n < 10; n++) expect(told(askWarm(sample))).toBe(ErrorReason.CREDENTIAL_INVALID);
  expect(store.finds).toBe(1);
  await clock.advanceAsync(5_001);
  expect(told(await ask(sample))).toBe(ErrorReason.CREDENTIAL_INVALID);
  expect(store.finds).toBe(2);
});

test("a flood of invented keys pushes out no good one", async () => {
  await identity[Symbol.asyncDispose]();
  start(1_000_000);
  const key = store.add("good");
  const known = await ask(key);
  for (let n = 0; n < 11_000; n++) await ask(formatKey(String(n).padStart(12, "0"), "x".repeat(30)));
  expect(store.finds).toBe(11_001);
  expect(askWarm(key)).toBe(known);
});

test("a key's times are judged at every request, by the store's clock", async () => {
  const startMs = store.nowMs + 60_000;
  const key = store.add("a", { startMs, expireMs: startMs + 60_000 });
  const expectAt = async (ms: number, answer: string | ErrorReason) => {
    await clock.advanceAsync(startMs + ms - store.nowMs);
    for (const skewMs of [0, 3_600_000, -3_600_000]) {
      clock.jumpWallTo(store.nowMs + skewMs);
      expect(told(askWarm(key))).toBe(answer);
    }
  };
  expect(told(await ask(key))).toBe(ErrorReason.KEY_NOT_YET_VALID);
  await expectAt(-1, ErrorReason.KEY_NOT_YET_VALID);
  await expectAt(0, idOf(key));
  await expectAt(59_999, idOf(key));
  await expectAt(60_000, ErrorReason.KEY_EXPIRED);
  expect(askWarm(key)).toMatchObject({
    facts: { key_id: idOf(key), expire_time: new Date(startMs + 60_000).toISOString() },
  });
  expect(store.finds).toBe(1);
});

test("a revoked key is refused within two seconds, and what runs with it is cut", async () => {
  const [key, other] = [store.add("a"), store.add("b")];
  await Promise.all([ask(key), ask(other)]);
  await clock.advanceAsync(1_000);
  const cut: WeirError[] = [];
  const ended: WeirError[] = [];
  identity.onRevoked(idOf(key), (error) => cut.push(error));
  identity.onRevoked(idOf(key), (error) => ended.push(error))();
  identity.onRevoked(idOf(other), (error) => ended.push(error));
  store.revoke(key);
  await clock.advanceAsync(2_000);
  expect(told(askWarm(key))).toBe(ErrorReason.KEY_REVOKED);
  expect(cut.map(({ reason, facts }) => [reason, facts])).toEqual([[ErrorReason.KEY_REVOKED, { key_id: idOf(key) }]]);
  expect(ended).toEqual([]);
  expect(told(askWarm(other))).toBe(idOf(other));
  // Refusing it needs no look-up, also later.
  await clock.advanceAsync(60_000);
  expect(told(askWarm(key))).toBe(ErrorReason.KEY_REVOKED);
  expect(store.finds).toBe(2);
  // Whoever begins to listen just after the news is told as well.
  const late = await new Promise<WeirError>((resolve) => void identity.onRevoked(idOf(key), resolve));
  expect(late.reason).toBe(ErrorReason.KEY_REVOKED);
});

test("a key that was revoked before it was ever seen is refused as such, once asked about", async () => {
  const key = store.add("a");
  store.revoke(key);
  expect(told(await ask(key))).toBe(ErrorReason.KEY_REVOKED);
  expect(told(askWarm(key))).toBe(ErrorReason.KEY_REVOKED);
  expect(store.finds).toBe(1);
});

test("a changed key is asked about again", async () => {
  const key = store.add("a");
  await ask(key);
  await clock.advanceAsync(1_000);
  store.change(key, { permissions: ["usage.read"] });
  await clock.advanceAsync(2_000);
  expect(await ask(key)).toMatchObject({ permissions: ["usage.read"] });
  expect(store.finds).toBe(2);
});

test("a revocation wins over an answer that was read before it and arrives after it", async () => {
  const key = store.add("a");
  await clock.advanceAsync(1_000);
  const late = Promise.withResolvers<void>();
  store.delay = late.promise;
  const answer = ask(key);
  await clock.advanceAsync(1);
  store.revoke(key);
  await clock.advanceAsync(600);
  late.resolve();
  expect(told(await answer)).toBe(ErrorReason.KEY_REVOKED);
  expect(told(askWarm(key))).toBe(ErrorReason.KEY_REVOKED);
});

test("an answer that a change overtook is not used: the key is asked about again", async () => {
  const key = store.add("a");
  await clock.advanceAsync(1_000);
  const late = Promise.withResolvers<void>();
  store.delay = late.promise;
  const answer = ask(key);
  await clock.advanceAsync(1);
  store.change(key, { permissions: ["usage.read"] });
  await clock.advanceAsync(600);
  store.delay = undefined;
  late.resolve();
  expect(await answer).toMatchObject({ permissions: ["usage.read"] });
  expect(askWarm(key)).toMatchObject({ permissions: ["usage.read"] });
  expect(store.finds).toBe(2);
});

test("what was revoked while the watch was being opened for the first time is told by it", async () => {
  await identity[Symbol.asyncDispose]();
  start();
  const key = store.add("a");
  const slow = Promise.withResolvers<void>();
  store.watchDelay = slow.promise;
  await clock.advanceAsync(0);
  expect(told(await ask(key))).toBe(idOf(key));
  const cut: WeirError[] = [];
  identity.onRevoked(idOf(key), (error) => cut.push(error));
  store.revoke(key);
  slow.resolve();
  await clock.advanceAsync(1_000);
  expect(told(askWarm(key))).toBe(ErrorReason.KEY_REVOKED);
  expect(cut).toHaveLength(1);
});

test("a store that lost its latest writes has every key looked up again", async () => {
  const key = store.add("a");
  await ask(key);
  await clock.advanceAsync(1_000);
  store.revision -= 1n;
  // The open stream does not go back; the next one, from a revision that is no more, begins with a reset.
  store.away = true;
  await clock.advanceAsync(1_000);
  store.away = false;
  await clock.advanceAsync(1_500);
  const finds = store.finds;
  expect(told(await ask(key))).toBe(idOf(key));
  expect(store.finds).toBe(finds + 1);
});

test("an address that tries too many unknown keys is told to wait, and asks nobody", async () => {
  await identity[Symbol.asyncDispose]();
  start(60);
  const key = store.add("good");
  await ask(key);
  const unseen = store.add("unseen");
  for (let n = 0; n < 30; n++) {
    expect(told(await ask(formatKey(`bad${n}`.padEnd(12, "0"), "x".repeat(30))))).toBe(ErrorReason.CREDENTIAL_INVALID);
    expect(told(askWarm("junk"))).toBe(ErrorReason.CREDENTIAL_INVALID);
  }
  const finds = store.finds;
  for (let n = 0; n < 1_000; n++) {
    const refused = askWarm(formatKey(`worse${n}`.padEnd(12, "0"), "x".repeat(30)));
    expect(refused).toMatchObject({ reason: ErrorReason.TOO_MANY_BAD_CREDENTIALS, retryAfterMs: 1_000 });
    expect(told(askWarm("junk"))).toBe(ErrorReason.TOO_MANY_BAD_CREDENTIALS);
  }
  expect(store.finds).toBe(finds);
  // A key that is known works, from this address too; other addresses feel nothing.
  expect(told(askWarm(key))).toBe(idOf(key));
  expect(told(askWarm("junk", "192.0.2.2"))).toBe(ErrorReason.CREDENTIAL_INVALID);
  expect(told(await ask(unseen, "192.0.2.2"))).toBe(idOf(unseen));
  // One more try a second.
  await clock.advanceAsync(1_000);
  expect(told(askWarm("junk"))).toBe(ErrorReason.CREDENTIAL_INVALID);
  expect(told(askWarm("junk"))).toBe(ErrorReason.TOO_MANY_BAD_CREDENTIALS);
  await clock.advanceAsync(3_600_000);
  for (let n = 0; n < 60; n++) expect(told(askWarm("junk"))).toBe(ErrorReason.CREDENTIAL_INVALID);
  expect(told(askWarm("junk"))).toBe(ErrorReason.TOO_MANY_BAD_CREDENTIALS);
});

test("unknown keys that are tried at once cost as much as one after the other", async () => {
  await identity[Symbol.asyncDispose]();
  start(60);
  const key = (n: number) => formatKey(`many${String(n).padStart(8, "0")}`, "x".repeat(30));
  const at = (n: number) => Promise.all(Array.from({ length: 90 }, (_, i) => ask(key(100 * n + i))));
  expect(new Set((await at(0)).map(told))).toEqual(new Set([ErrorReason.CREDENTIAL_INVALID]));
  expect(store.finds).toBe(90);
  // 30 are owed, and one a second comes back.
  await clock.advanceAsync(29_000);
  expect(new Set((await at(1)).map(told))).toEqual(new Set([ErrorReason.TOO_MANY_BAD_CREDENTIALS]));
  expect(store.finds).toBe(90);
  await clock.advanceAsync(3_000);
  expect(told(await ask(key(200)))).toBe(ErrorReason.CREDENTIAL_INVALID);
});

test("good keys and outages cost an address nothing", async () => {
  await identity[Symbol.asyncDispose]();
  start(1);
  const keys = Array.from({ length: 20 }, (_, n) => store.add(`k${n}x`));
  for (const key of keys) expect(told(await ask(key))).toBe(idOf(key));
  store.away = true;
  for (let n = 0; n < 5; n++) {
    const unknown = formatKey(`u${n}`.padEnd(12, "0"), "x".repeat(30));
    expect(told(await ask(unknown))).toBe(ErrorReason.AUTH_UNAVAILABLE);
  }
  expect(told(askWarm("junk"))).toBe(ErrorReason.CREDENTIAL_INVALID);
});

test("one IPv6 caller is one /64", () => {
  for (let n = 0; n < 600; n++) askWarm("junk", `2001:db8:0:1::${n.toString(16)}`);
  expect(told(askWarm("junk", "2001:db8:0:1:ffff::1"))).toBe(ErrorReason.TOO_MANY_BAD_CREDENTIALS);
  expect(told(askWarm("junk", "2001:db8:0:2::1"))).toBe(ErrorReason.CREDENTIAL_INVALID);
  // An IPv4 address is the same in both notations.
  for (let n = 0; n < 600; n++) askWarm("junk", "::ffff:192.0.2.9");
  expect(told(askWarm("junk", "192.0.2.9"))).toBe(ErrorReason.TOO_MANY_BAD_CREDENTIALS);
});
