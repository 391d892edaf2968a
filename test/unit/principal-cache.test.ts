import { create } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { PrincipalSchema } from "../../gen/ts/weir/auth/v1/principal_pb.ts";
import { createPrincipalCache, type Known } from "../../services/runtime/identity/principal-cache.ts";

function knownOf(keyId: string, names: string[]): Known {
  const principal = create(PrincipalSchema, {
    keyId,
    permissions: ["models.invoke", "models.read"],
    models: { names },
  });
  const epoch = { endMs: undefined };
  return { principal, validity: { startMs: 0, expireMs: 1 }, checkedMs: 0, epoch, refreshFromMs: 0 };
}

/** How many of so many keys are still known. */
function kept(count: number, names: string[]): number {
  const cache = createPrincipalCache();
  for (let n = 0; n < count; n++) cache.setKnown(String(n), knownOf(String(n), names));
  // The last is never the one that goes.
  expect(cache.known(String(count - 1))).toBeDefined();
  let known = 0;
  for (let n = 0; n < count; n++) {
    const there = cache.known(String(n)) !== undefined;
    expect(cache.drop(String(n))).toHaveLength(there ? 1 : 0);
    known += Number(there);
  }
  return known;
}

test("as many ordinary keys are known as are ever in use, and no more long ones than fit the same memory", () => {
  expect(kept(100_000, ["llama", "qwen-*"])).toBe(100_000);
  const names = Array.from({ length: 64 }, (_, n) => String(n).padStart(256, "m"));
  const long = kept(10_000, names);
  expect(long).toBeGreaterThan(4_000);
  expect(long).toBeLessThan(6_500);
});
