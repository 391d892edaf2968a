import { type Clock, systemClock } from "../runtime/clock.ts";
import { openAnthropicServer } from "./anthropic/server.ts";
import { createEngine, defaultSpeed, type Engine, type Speed } from "./engine.ts";
import type { OpenServer } from "./listener.ts";
import { manners, type MannersName } from "./openai/manners.ts";
import { openOpenAiServer } from "./openai/server.ts";
import { createRecorder, type Recorder } from "./record.ts";
import { openTgiServer } from "./tgi/server.ts";
import { openTgisServer } from "./tgis/server.ts";
import { openTritonServer } from "./triton/server.ts";
import { openVllmServer } from "./vllm/server.ts";

/** What to simulate. A protocol that is not named is not served; port 0 lets the kernel choose one. */
export interface SimulatorOptions {
  readonly speed?: Partial<Speed>;
  /** The names of the model over OpenAI's HTTP and vLLM's gRPC. Default: `weir-sim`. */
  readonly models?: readonly string[];
  readonly openai?: {
    readonly port: number;
    /** Whose manners it has. Default: vllm. */
    readonly as?: MannersName;
  };
  readonly triton?: {
    readonly port: number;
    /** Whether the TensorRT-LLM models stream. Default: true. */
    readonly decoupled?: boolean;
    /** Whether they have a grammar. Default: true. */
    readonly guided?: boolean;
    /** Whether the ensemble and BLS count tokens. Default: true. */
    readonly counts?: boolean;
  };
  readonly tgis?: {
    readonly port: number;
    /** Whether it is IBM's own server, and not vLLM's adapter. Default: false. */
    readonly ibm?: boolean;
  };
  readonly vllm?: { readonly port: number };
  /** TGI's HTTP. */
  readonly tgi?: { readonly port: number };
  /** Anthropic's HTTP. */
  readonly anthropic?: { readonly port: number };
  /** A file that the record is appended to. */
  readonly recordPath?: string;
  readonly clock?: Clock;
  /** Default: 127.0.0.1. */
  readonly host?: string;
  /** What a commanded crash does. Default: every connection is reset, and no new one is taken. */
  readonly crash?: () => void;
}

/** A simulator that runs. Disposing ends all that it generates and closes it. */
export interface Simulator extends AsyncDisposable {
  /** http://host:port; empty if it does not speak HTTP. */
  readonly httpUrl: string;
  /** grpc://host:port; empty if it does not speak Triton's gRPC. */
  readonly grpcUrl: string;
  /** grpc://host:port; empty if it does not speak the gRPC of TGIS. */
  readonly tgisUrl: string;
  /** grpc://host:port; empty if it does not speak vLLM's own gRPC. */
  readonly vllmUrl: string;
  /** http://host:port; empty if it does not speak TGI's HTTP. */
  readonly tgiUrl: string;
  /** http://host:port; empty if it does not speak Anthropic's HTTP. */
  readonly anthropicUrl: string;
  /** Its `commanded` takes faults for the next requests. */
  readonly engine: Engine;
  readonly recorder: Recorder;
}

/** Starts a simulator in this process. All protocols share one engine, one record and its faults. */
export async function startSimulator(options: SimulatorOptions): Promise<Simulator> {
  const { clock = systemClock, host = "127.0.0.1", models = ["weir-sim"] } = options;
  await using stack = new AsyncDisposableStack();
  const recorder = stack.use(createRecorder(() => clock.nowMs(), options.recordPath));
  const engine = createEngine({ ...defaultSpeed, ...options.speed }, clock, recorder);
  const servers: OpenServer[] = [];
  const crash = () => {
    if (options.crash) return options.crash();
    engine.halt("crash");
    for (const server of servers) server.reset();
  };
  const surroundings = { engine, recorder, clock, models, host, crash };
  const open = async (server: Promise<OpenServer>) => {
    servers.push(stack.use(await server));
    return servers.at(-1)?.url ?? "";
  };
  const { port, as = "vllm" } = options.openai ?? {};
  const httpUrl =
    port === undefined ? "" : await open(openOpenAiServer({ ...surroundings, port, manners: manners[as] }));
  const grpcUrl = options.triton
    ? await open(openTritonServer({ ...surroundings, decoupled: true, guided: true, counts: true, ...options.triton }))
    : "";
  const tgisUrl = options.tgis ? await open(openTgisServer({ ...surroundings, ibm: false, ...options.tgis })) : "";
  const vllmUrl = options.vllm ? await open(openVllmServer({ ...surroundings, port: options.vllm.port })) : "";
  const tgiUrl = options.tgi ? await open(openTgiServer({ ...surroundings, port: options.tgi.port })) : "";
  const anthropicUrl = options.anthropic
    ? await open(openAnthropicServer({ ...surroundings, port: options.anthropic.port }))
    : "";
  stack.defer(() => engine.halt("stop"));
  const owned = stack.move();
  return {
    httpUrl,
    grpcUrl,
    tgisUrl,
    vllmUrl,
    tgiUrl,
    anthropicUrl,
    engine,
    recorder,
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}
