import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { openFolder } from "./open-folder.ts";
import { RawRequest, type RawRequestOptions } from "./raw-request.ts";
import { startWeirProcess, type WeirProcess } from "./weir-process.ts";

/** A line that the gateway logs of a request. */
export interface GenerationLine {
  readonly request_id: string;
  readonly model: string;
  readonly served_model?: string;
  readonly end: "ok" | "failed" | "cancelled";
  readonly reason?: string;
  readonly attempts: readonly { readonly replica: string; readonly outcome: string }[];
  readonly completion_tokens?: number;
}

/** The whole gateway as a process of its own, with a configuration file. */
export interface Gateway extends AsyncDisposable {
  readonly weir: WeirProcess;
  readonly port: number;
  readonly key: string;
  /** Sends a request over a raw connection. */
  ask(path: string, body: object, more?: Partial<RawRequestOptions>): RawRequest;
  /** What it logged of requests so far. */
  generations(): readonly GenerationLine[];
  /** A gauge, over all models. */
  gauge(name: "weir_requests_in_flight" | "weir_requests_queued"): Promise<number>;
}

/** Starts it with a configuration, whose `listen` is given already. */
export async function startGateway(yaml: string): Promise<Gateway> {
  await using resources = new AsyncDisposableStack();
  const folder = await openFolder("weir-faults-");
  resources.defer(() => rm(folder, { recursive: true, force: true }));
  const file = join(folder, "weir.yaml");
  // At level debug it tells of every request.
  await writeFile(file, `listen: { port: 0, admin_port: 0 }\nlog: { level: debug }\n${yaml}`);
  const weir = resources.use(await startWeirProcess({ args: ["--config", file], dataDir: join(folder, "data") }));
  const running = resources.move();
  const port = Number(new URL(weir.url).port);
  return {
    weir,
    port,
    key: weir.key,
    ask: (path, body, more) => new RawRequest({ port, key: weir.key, path, body, ...more }),
    generations: () =>
      weir
        .log()
        .split("\n")
        .filter((line) => line.includes('"message":"generation"') && line.endsWith("}"))
        .map((line): GenerationLine => JSON.parse(line)),
    async gauge(name) {
      const text = await (await fetch(`${weir.adminUrl}/metrics`)).text();
      const samples = text.split("\n").filter((line) => line.startsWith(`${name}{`));
      return samples.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(" ") + 1)), 0);
    },
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}
