import { expect, it, onTestFinished } from "vitest";
import { openAdminServer } from "../../services/runtime/server/admin.ts";
import { createLog } from "../../services/runtime/telemetry/log.ts";
import { rawHttp } from "../fakes/raw-http.ts";

it("metrics that fail end their own connection, are logged, and the next request is answered", async () => {
  const lines: Record<string, unknown>[] = [];
  const admin = await openAdminServer({
    host: "127.0.0.1",
    port: 0,
    log: createLog("info", { write: (line) => void lines.push(JSON.parse(line)) }),
    metrics: () => Promise.reject(new Error("no sample")),
    notReady: () => ({}),
    rpc: (_request, response) => response.end(),
  });
  onTestFinished(() => admin[Symbol.asyncDispose]());
  const get = (path: string) => rawHttp(admin.port, `GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`, { answers: 1 });
  expect(await get("/metrics")).toMatchObject({ answers: [], closed: true });
  expect(lines).toMatchObject([{ level: "error", err: { message: "no sample" } }]);
  expect((await get("/livez")).answers[0]?.status).toBe(200);
});
