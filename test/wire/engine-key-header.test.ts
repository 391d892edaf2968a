import { status } from "@grpc/grpc-js";
import { afterAll, describe, expect, test } from "vitest";
import { Dialect } from "../../gen/ts/weir/catalog/v1/replica_pb.ts";
import { anthropicConnection } from "../../services/drivers/anthropic/connection.ts";
import { connectionTo } from "../../services/drivers/http/connection.ts";
import { openaiConnection } from "../../services/drivers/openai/azure.ts";
import { detectDialect, openDriver } from "../../services/drivers/registry.ts";
import { startFakeGrpc } from "../fakes/fake-grpc.ts";
import { startFakeTriton, textResponse, vllmModel } from "../fakes/fake-triton.ts";
import { attemptAt, run, targetAt } from "./attempts.ts";

const cleanup = new AsyncDisposableStack();
afterAll(() => cleanup.disposeAsync());

const header = "triton-grpc-protocol-weir";
const engineKey = "key-canary-1234";

describe("Triton whose protocols are restricted", () => {
  test("gets the key as it is in the header that it wants, with every call", async () => {
    const engine = cleanup.use(
      await startFakeTriton({
        models: { fake: vllmModel },
        infer: ({ send, end, request }) => {
          send(textResponse(request.id, "open", { final: true, finish: "stop" }));
          end();
        },
      }),
    );
    const driver = cleanup.use(
      openDriver(Dialect.TRITON, targetAt(engine.url, { engineKey, engineKeyHeader: header })),
    );
    const [model] = (await driver.probe(AbortSignal.timeout(5_000))).models;
    if (!model) throw new Error("no model");
    expect((await run(driver, attemptAt(model))).text()).toBe("open");
    const given = engine.calls.map(({ headers }) => [headers[header], headers.authorization]);
    expect(given.length).toBeGreaterThan(4);
    expect(given).toEqual(given.map(() => [engineKey, undefined]));
  });

  test("says that it is the credential where that is missing", async () => {
    const text = `This protocol is restricted, expecting header '${header}'`;
    const engine = cleanup.use(await startFakeGrpc((call) => call.end(status.UNAVAILABLE, text)));
    const target = targetAt(engine.url, { engineKey });
    const driver = cleanup.use(openDriver(Dialect.TRITON, target));
    await expect(driver.probe(AbortSignal.timeout(5_000))).rejects.toMatchObject({ message: /credential/ });
    await expect(detectDialect(target, AbortSignal.timeout(5_000))).resolves.toBe(Dialect.TRITON);
  });
});

describe("the header of a key over HTTP", () => {
  const azure = "http://x.test/openai/deployments/gpt";
  const opened = {
    "OpenAI's": (named: object) => connectionTo(targetAt("http://x.test", { engineKey, ...named })),
    "Azure's": (named: object) => openaiConnection(targetAt(azure, { engineKey, ...named })),
    "Anthropic's": (named: object) => anthropicConnection(targetAt("http://x.test", { engineKey, ...named })),
  };

  test.each([
    ["OpenAI's", `authorization: Bearer ${engineKey}`],
    ["Azure's", `api-key: ${engineKey}`],
    ["Anthropic's", `x-api-key: ${engineKey}`],
  ] as const)("is %s own, or the one that is named alone", async (whose, own) => {
    await using usual = opened[whose]({});
    await using named = opened[whose]({ engineKeyHeader: "x-gate" });
    expect(usual.get("/")).toContain(own);
    expect(named.get("/")).toContain(`x-gate: ${engineKey}`);
    expect(named.get("/")).not.toContain(own);
  });
});
