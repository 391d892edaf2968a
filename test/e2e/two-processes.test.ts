import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fromJson } from "@bufbuild/protobuf";
import OpenAI from "openai";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { CreateKeyResponseSchema } from "../../gen/ts/weir/auth/v1/key_service_pb.ts";
import { Dimension } from "../../gen/ts/weir/quota/v1/limit_pb.ts";
import { become, limitKey, limitStatus } from "../fakes/limited-keys.ts";
import { openFolder } from "../fakes/open-folder.ts";
import { createTestDatabase, type TestDatabase } from "../fakes/postgres.ts";
import { type SimulatorProcess, startSimulatorProcess } from "../fakes/simulator-process.ts";
import { startWeirProcess, type WeirProcess } from "../fakes/weir-process.ts";

let database: TestDatabase;
let simulator: SimulatorProcess;
let control: WeirProcess;
let data: WeirProcess;

beforeAll(async () => {
  const folder = await openFolder("weir-two-");
  database = await createTestDatabase();
  simulator = await startSimulatorProcess(["--model", "weir-sim"]);
  const start = async (name: string, yaml: string) => {
    const file = join(folder, `${name}.yaml`);
    const listen = "listen: { port: 0, admin_port: 0, mesh_port: 0 }";
    const token = "mesh: { token_file: mesh.token";
    await writeFile(file, `${listen}\n${yaml.replace("MESH", token)}`);
    return startWeirProcess({ args: ["--config", file], dataDir: join(folder, name) });
  };
  const pools = `pools: [{ id: sim, replicas: [{ url: "${simulator.httpUrl}" }] }]\nmodels: [{ id: weir-sim, pool: sim }]`;
  control = await start(
    "control",
    `roles: [catalog, auth, quota, usage]\nMESH }\npostgres: { url: "${database.url}" }\n${pools}\n`,
  );
  const roles = ["auth", "catalog", "quota", "usage"];
  const peers = `peers: { ${roles.map((role) => `${role}: "${control.meshUrl}"`).join(", ")} }`;
  data = await start("data", `roles: [edge, router]\nMESH, ${peers} }\n`);
}, 120_000);

afterAll(async () => {
  await data?.[Symbol.asyncDispose]();
  await control?.[Symbol.asyncDispose]();
  await simulator?.stop();
  await database?.[Symbol.asyncDispose]();
});

const createKey = async (): Promise<{ readonly id: string; readonly secret: string }> => {
  const response = await fetch(`${control.url}/weir.auth.v1.KeyService/CreateKey`, {
    method: "POST",
    headers: { authorization: `Bearer ${control.key}`, "content-type": "application/json" },
    body: JSON.stringify({ requestId: crypto.randomUUID(), name: "team" }),
  });
  const made = fromJson(CreateKeyResponseSchema, JSON.parse(await response.text()));
  return { id: made.key?.id ?? "", secret: made.secret };
};

const revokeKey = (keyId: string) =>
  fetch(`${control.url}/weir.auth.v1.KeyService/RevokeKey`, {
    method: "POST",
    headers: { authorization: `Bearer ${control.key}`, "content-type": "application/json" },
    body: JSON.stringify({ keyId }),
  });

const chat = (apiKey: string) =>
  new OpenAI({ baseURL: `${data.url}/v1`, apiKey, maxRetries: 0 }).chat.completions.create({
    model: "weir-sim",
    messages: [{ role: "user", content: "Hello!" }],
    max_tokens: 4,
  });

describe("a data plane and a control plane in two processes", () => {
  it("cut a running stream within 2 s of its key's revocation: one error, no end mark, and what it held is settled", async () => {
    const { id, secret } = await createKey();
    // Too small to share: both are reserved for this request.
    const place = await limitKey({ control, key: control.key }, id, {
      dimension: Dimension.CONCURRENT_REQUESTS,
      ceiling: { case: "count", value: 1n },
    });
    const tokens = await limitKey({ control, key: control.key }, id, {
      dimension: Dimension.OUTPUT_TOKENS,
      ceiling: { case: "count", value: 5_000n },
      window: { case: "rate", value: { per: { seconds: 86_400n } } },
    });
    const held = (limitId: string) => limitStatus({ control, key: control.key }, { keyId: id, limitId });
    const response = await fetch(`${data.url}/v1/chat/completions`, {
      method: "POST",
      headers: { authorization: `Bearer ${secret}`, "content-type": "application/json" },
      body: JSON.stringify({
        model: "weir-sim",
        messages: [{ role: "user", content: "Go on" }],
        max_tokens: 4_000,
        ignore_eos: true,
        stream: true,
      }),
    });
    const reader = response.body?.getReader();
    await reader?.read();
    expect(await held(place)).toMatchObject({ reserved: 1n, remaining: 0n });
    expect(await held(tokens)).toMatchObject({ reserved: 4_000n });
    const revokedMs = performance.now();
    await revokeKey(id);
    let text = "";
    for (let next = await reader?.read(); next && !next.done; next = await reader?.read())
      text += Buffer.from(next.value).toString();
    expect(performance.now() - revokedMs).toBeLessThan(2_000);
    expect(text.match(/"error":\{/g)).toHaveLength(1);
    expect(text).toContain('"code":"key_revoked"');
    expect(text).not.toContain("[DONE]");
    await become("its place is free", async () => (await held(place)).remaining === 1n);
    // At least what was read is counted, and nothing is kept for it.
    const pieces = text.match(/"content":"./g)?.length ?? 0;
    await become("what it used is counted", async () => {
      const { used, reserved, leased } = await held(tokens);
      return used >= BigInt(pieces) && used < 4_000n && reserved === 0n && leased === 0n;
    });
  });

  it("serve a key that was made at the other one, and refuse it within 2 s of its revocation", async () => {
    const { id, secret } = await createKey();
    expect((await chat(secret)).choices[0]?.finish_reason).toBe("length");
    await revokeKey(id);
    const refusal = () =>
      chat(secret).then(
        () => "",
        (error: unknown) => (error instanceof OpenAI.APIError ? error.code : error),
      );
    await expect.poll(refusal, { timeout: 2_000, interval: 50 }).toBe("key_revoked");
  });

  it("go on with known keys while the control plane is gone, and tell unknown ones to come again", async () => {
    const known = await createKey();
    const unknown = await createKey();
    expect((await chat(known.secret)).object).toBe("chat.completion");
    control.kill("SIGKILL");
    await control.exited;
    expect((await chat(known.secret)).object).toBe("chat.completion");
    await expect(chat(unknown.secret)).rejects.toMatchObject({ status: 503, code: "auth_unavailable" });
  });
});
