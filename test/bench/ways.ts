import { type Books, openBooks } from "./books.ts";
import { bearer, type LoadTarget } from "./load.ts";
import { pacedModel, plainModel } from "./mock-answer.ts";
import { startNginx } from "./nginx.ts";
import { portkeyHeaders, startPortkey } from "./portkey.ts";
import { type Measured, startScript } from "./processes.ts";
import { startWeir } from "./weir.ts";

/** A pace of streams: so many frames, so many milliseconds apart. */
export interface Pace {
  readonly frames: number;
  readonly everyMs: number;
}

/** The pace of the streams that are timed, of those whose memory is measured, and of those that warm the code. */
export const timedPace: Pace = { frames: 64, everyMs: 5 };
export const restfulPace: Pace = { frames: 40, everyMs: 50 };
export const briskPace: Pace = { frames: 8, everyMs: 1 };

/** Where requests go, and which process pays for them. */
interface Door {
  readonly pid: number;
  readonly target: LoadTarget;
}

/** A way from the load to the upstreams. */
export interface Way {
  readonly name: WayName;
  readonly plain: Door;
  paced(pace: Pace): Door;
  /** Of Weir. */
  readonly books?: Books;
}

export type WayName = "mock alone" | "bare proxy" | "bare proxy again" | "Weir" | "Portkey";

export interface Ways {
  readonly ways: readonly Way[];
  /** Who answers requests in one piece. */
  readonly upstream: "nginx" | "ours";
}

export interface WaysOptions {
  readonly portkey: boolean;
  /** For Weir's own Node. */
  readonly nodeArgs?: readonly string[];
}

/** Starts all of them; they end with the stack. What cannot be had is said, and left out. */
export async function startWays(resources: AsyncDisposableStack, options: WaysOptions): Promise<Ways> {
  const paced = resources.use(await startScript("mock-engine.ts", "others"));
  const nginx = await orSkip("nginx, so the answers in one piece are our own mock's", startNginx, resources);
  const plain = nginx ?? paced;
  const ways = [
    wayThrough("mock alone", plain, [plain.url, paced.url], paced.pid),
    await bareProxy("bare proxy", resources, plain.url, paced.url),
    // Between the two that it is compared with: what slows the machine for a moment meets a neighbour too.
    await weirWay(resources, options.nodeArgs ?? [], plain.url, paced.url),
    await bareProxy("bare proxy again", resources, plain.url, paced.url),
  ];
  const portkey = options.portkey ? await orSkip("Portkey", startPortkey, resources) : undefined;
  if (portkey) ways.push(portkeyWay(portkey, plain.url, paced.url));
  return { ways, upstream: nginx ? "nginx" : "ours" };
}

async function orSkip(
  what: string,
  start: () => Promise<Measured>,
  resources: AsyncDisposableStack,
): Promise<Measured | undefined> {
  try {
    return resources.use(await start());
  } catch (error) {
    console.log(`SKIPPED: no ${what}: ${error instanceof Error ? error.message : String(error)}`);
    return undefined;
  }
}

function wayThrough(
  name: WayName,
  { pid }: { readonly pid: number },
  [plainUrl = "", pacedUrl = ""]: readonly string[],
  pacedPid = pid,
  headers: readonly [plain: LoadTarget["headers"], paced: LoadTarget["headers"]] = [{}, {}],
): Way {
  return {
    name,
    plain: { pid, target: { url: plainUrl, headers: headers[0], model: plainModel, stream: false } },
    paced: ({ frames, everyMs }) => ({
      pid: pacedPid,
      target: { url: pacedUrl, headers: headers[1], model: pacedModel(frames, everyMs), stream: true },
    }),
  };
}

async function bareProxy(
  name: WayName,
  resources: AsyncDisposableStack,
  plainUrl: string,
  pacedUrl: string,
): Promise<Way> {
  const proxy = resources.use(await startScript("bare-proxy.ts", "measured", [plainUrl, pacedUrl]));
  return wayThrough(name, proxy, proxy.urls);
}

/** It finds the upstream in a header of each request. */
function portkeyWay(portkey: Measured, plainUrl: string, pacedUrl: string): Way {
  const headers = [portkeyHeaders(plainUrl), portkeyHeaders(pacedUrl)] as const;
  return wayThrough("Portkey", portkey, [portkey.url, portkey.url], portkey.pid, headers);
}

/** Everything in one process: every role, PostgreSQL, the journal on disk; a key of a project with three limits. */
async function weirWay(
  resources: AsyncDisposableStack,
  nodeArgs: readonly string[],
  plainUrl: string,
  pacedUrl: string,
): Promise<Way> {
  const weir = resources.use(await startWeir({ yaml: configFor(plainUrl, pacedUrl), nodeArgs }, "measured"));
  const books = await openBooks(weir);
  const headers = bearer(books.key);
  return { ...wayThrough("Weir", weir, [weir.url, weir.url], weir.pid, [headers, headers]), books };
}

function configFor(plainUrl: string, pacedUrl: string): string {
  const pool = (id: string, url: string) => `  - { id: ${id}, replicas: [{ url: "${url}" }], concurrency_max: 1024 }`;
  const pacedModels = [timedPace, restfulPace, briskPace].map(({ frames, everyMs }) => pacedModel(frames, everyMs));
  return [
    "pools:",
    pool("plain", plainUrl),
    pool("paced", pacedUrl),
    "models:",
    `  - { id: ${plainModel}, pool: plain }`,
    ...pacedModels.map((id) => `  - { id: ${id}, pool: paced }`),
    "",
  ].join("\n");
}
