import { expect, test } from "vitest";
import { watchRevocations } from "../../services/runtime/identity/revocation-watch.ts";
import { startIdentity } from "../fakes/identity-process.ts";

test("a connection that was in sync ends a row of failures: the next one is the first again, and is tried again soon", async () => {
  const { auth, clock, identity, store } = startIdentity();
  await identity[Symbol.asyncDispose]();
  const failures: number[] = [];
  await using watch = watchRevocations({
    auth,
    clock,
    silentMs: 2_000,
    changed: () => {},
    reset: () => {},
    heard: () => {},
    failed: (_error, times) => void failures.push(times),
  });
  await clock.advanceAsync(1_000);
  store.away = true;
  await clock.advanceAsync(5_000);
  expect(failures.slice(0, 3)).toEqual([1, 2, 3]);
  expect(failures.length).toBeGreaterThan(5);
  store.away = false;
  await clock.advanceAsync(2_000);
  failures.length = 0;
  // Away for one reading only.
  store.away = true;
  while (failures.length === 0) await clock.advanceAsync(10);
  store.away = false;
  expect(failures).toEqual([1]);
  await clock.advanceAsync(110);
  expect(clock.monotonicMs() - watch.inSyncMs()).toBeLessThan(20);
});
