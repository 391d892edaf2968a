import { type AddressInfo, createServer } from "node:net";
import { afterEach, beforeEach, expect, test } from "vitest";
import { detectDialect, openDriver } from "../../services/drivers/registry.ts";
import { tgisDriver } from "../../services/drivers/tgis/driver.ts";
import { tritonDriver } from "../../services/drivers/triton/driver.ts";
import { vllmDriver } from "../../services/drivers/vllm/driver.ts";
import { targetAt } from "./attempts.ts";

/** What each connection to it said, which it closes. */
let heard: Buffer[];
let connections: number;
let listener: ReturnType<typeof createServer>;

beforeEach(async () => {
  heard = [];
  connections = 0;
  listener = createServer((socket) => {
    connections += 1;
    socket.on("error", () => undefined);
    socket.once("data", (bytes) => {
      heard.push(bytes);
      socket.destroy();
    });
  });
  await new Promise<void>((resolve) => listener.listen(0, "127.0.0.1", resolve));
});
afterEach(() => void listener.close());

const secured = () =>
  targetAt(`https://127.0.0.1:${(listener.address() as AddressInfo).port}`, { engineKey: "key-canary-1234" });
const kinds = Object.entries({ Triton: tritonDriver, TGIS: tgisDriver, vLLM: vllmDriver });

test.each(kinds)("%s is not asked for at an https address", async (_, kind) => {
  expect(kind.canBeAt(secured().url)).toBe(false);
  expect(await kind.detect(secured(), AbortSignal.timeout(5_000))).toBe("no");
  expect(connections).toBe(0);
});

test.each(kinds)("%s is not spoken at an https address, also where it is configured", async (_, kind) => {
  await using driver = openDriver(kind.dialect, secured());
  await expect(driver.probe(AbortSignal.timeout(5_000))).rejects.toThrow("without TLS");
  expect(connections).toBe(0);
});

test("who asks an https address for its dialect says nothing in cleartext", async () => {
  await expect(detectDialect(secured(), AbortSignal.timeout(5_000))).rejects.toThrow("could not be reached");
  expect(heard).not.toHaveLength(0);
  // What a handshake of TLS begins with.
  expect(new Set(heard.map((bytes) => bytes[0]))).toEqual(new Set([22]));
});
