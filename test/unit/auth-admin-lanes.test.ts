import { create } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { PrincipalSchema } from "../../gen/ts/weir/auth/v1/principal_pb.ts";
import { ErrorReason } from "../../gen/ts/weir/error/v1/error_pb.ts";
import { type AdminLanes, createAdminLanes } from "../../services/auth/admin-lanes.ts";

const unbounded = { key: Infinity, project: Infinity, org: Infinity };

/** Work that runs until it is told to end. */
function callsOf(lanes: AdminLanes) {
  const begun: string[] = [];
  const running: (() => void)[] = [];
  const call = (
    orgId: string,
    projectId: string,
    { keyId = "", signal = new AbortController().signal }: { keyId?: string; signal?: AbortSignal } = {},
  ): Promise<void> =>
    lanes.run({ principal: create(PrincipalSchema, { orgId, projectId, keyId }), signal }, () => {
      begun.push(projectId + keyId);
      return new Promise((resolve) => void running.push(resolve));
    });
  const turn = () => new Promise((resolve) => void setImmediate(resolve));
  return {
    begun,
    call,
    turn,
    /** Ends the oldest that runs. */
    async end(): Promise<void> {
      await turn();
      running.shift()?.();
      await turn();
    },
  };
}

test("as much runs as there are lanes, and projects take turns for what waits", async () => {
  const { begun, call, end, turn } = callsOf(createAdminLanes(2, unbounded));
  const all = [..."aaaaa"].map((project) => call("acme", project));
  all.push(call("acme", "b"), call("umbrella", "c"));
  await turn();
  expect(begun.join("")).toBe("aa");
  for (let n = 0; n < all.length; n++) await end();
  expect(begun.join("")).toBe("aaabcaa");
  await Promise.all(all);
});

test("keys take their project's turns one after the other", async () => {
  const { begun, call, end } = callsOf(createAdminLanes(1, unbounded));
  const all = ["1", "1", "1", "1", "2", "3", "2"].map((keyId) => call("acme", "a", { keyId }));
  all.push(call("umbrella", "b", { keyId: "1" }));
  for (let n = 0; n < all.length; n++) await end();
  expect(begun.join(" ")).toBe("a1 a1 b1 a2 a3 a1 a2 a1");
  await Promise.all(all);
});

test("what fails, or was given up while it waited, hands its lane over", async () => {
  const lanes = createAdminLanes(1, unbounded);
  const { begun, call, end, turn } = callsOf(lanes);
  const leaving = new AbortController();
  const failing = lanes.run({ principal: undefined, signal: leaving.signal }, async () => {
    throw new Error("broken");
  });
  const left = call("acme", "a", { signal: leaving.signal });
  const last = call("acme", "b");
  leaving.abort(new Error("left"));
  await expect(failing).rejects.toThrow("left");
  await expect(left).rejects.toThrow("left");
  await turn();
  expect(begun).toEqual(["b"]);
  await end();
  await last;
});

test("a key, a project and an organisation with all its projects has only so much waiting", async () => {
  const { call, end } = callsOf(createAdminLanes(1, { key: 2, project: 4, org: 8 }));
  const calls = [call("acme", "p0")];
  for (let n = 0; n < 8; n++) calls.push(call("acme", `p${n % 2}`, { keyId: String(n % 4) }));
  const refusal = { reason: ErrorReason.OVERLOADED, retryAfterMs: 1_000 };
  await expect(call("acme", "p9", { keyId: "1" })).rejects.toMatchObject({ ...refusal, facts: { limit: "2" } });
  await expect(call("acme", "p0", { keyId: "9" })).rejects.toMatchObject({ ...refusal, facts: { limit: "4" } });
  await expect(call("acme", "p9", { keyId: "9" })).rejects.toMatchObject({ ...refusal, facts: { limit: "8" } });
  calls.push(call("umbrella", "p9", { keyId: "9" }));
  for (let n = 0; n < calls.length; n++) await end();
  await Promise.all(calls);
  // There is room again.
  const again = call("acme", "p0");
  await end();
  await again;
});
