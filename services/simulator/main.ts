import { parseArgs } from "node:util";
import type { Speed } from "./engine.ts";
import { isMannersName, manners, type MannersName } from "./openai/manners.ts";
import { startSimulator } from "./simulator.ts";

// The simulator as a process of its own. It prints one line of JSON when it is ready, {"httpUrl", "grpcUrl", "tgisUrl",
// "vllmUrl", "tgiUrl", "anthropicUrl", "pid"}, and ends on SIGTERM and SIGINT. A commanded crash is a kill -9 of itself.

const usage = `usage: node services/simulator/main.ts [flags]
  --http-port N     OpenAI's HTTP; 0, the default, lets the kernel choose
  --openai-as NAME  whose manners OpenAI's HTTP has: ${Object.keys(manners).join(" or ")}; default vllm
  --grpc-port N     Triton's gRPC; 0, the default, lets the kernel choose
  --tgis-port N     the gRPC of TGIS; 0, the default, lets the kernel choose
  --vllm-port N     vLLM's own gRPC; 0, the default, lets the kernel choose
  --tgi-port N      TGI's HTTP; 0, the default, lets the kernel choose
  --anthropic-port N  Anthropic's HTTP; 0, the default, lets the kernel choose
  --host ADDRESS    default 127.0.0.1
  --record FILE     append the record to this file
  --model NAME      served over HTTP and vLLM's gRPC, repeatable; default weir-sim
  --tgis-ibm        the gRPC of TGIS is that of IBM's own server, not of vLLM's adapter
  --no-decoupled    the TensorRT-LLM models answer in one piece only
  --no-guided       the TensorRT-LLM models have no grammar
  --no-counts       the TensorRT-LLM ensemble and BLS count no tokens, as older ones
  --slots N         requests that run at a time
  --waiting N       requests that may wait
  --kv-tokens N     tokens that fit in memory
  --context N       tokens of prompt and answer together
  --prefill-ms N    milliseconds a prompt token
  --decode-ms N     milliseconds a token`;

const sizes: Readonly<Record<string, keyof Speed>> = {
  slots: "slots",
  waiting: "waitingMax",
  "kv-tokens": "kvTokens",
  context: "contextLength",
  "prefill-ms": "prefillMsPerToken",
  "decode-ms": "decodeMsPerToken",
};

function readFlags(args: readonly string[]) {
  const text = { type: "string" } as const;
  const { values } = parseArgs({
    args: [...args],
    options: {
      "http-port": text,
      "openai-as": { type: "string", default: "vllm" },
      "grpc-port": text,
      "tgis-port": text,
      "vllm-port": text,
      "tgi-port": text,
      "anthropic-port": text,
      host: text,
      record: text,
      model: { type: "string", multiple: true },
      "tgis-ibm": { type: "boolean", default: false },
      decoupled: { type: "boolean", default: true },
      guided: { type: "boolean", default: true },
      counts: { type: "boolean", default: true },
      ...Object.fromEntries(Object.keys(sizes).map((name) => [name, text])),
    },
    allowNegative: true,
  });
  const flags = new Map<string, unknown>(Object.entries(values));
  const number = (name: string): number | undefined => {
    const given = flags.get(name);
    if (given === undefined) return undefined;
    const value = Number(given);
    if (given === "" || !Number.isFinite(value) || value < 0)
      throw new TypeError(`--${name} is no number: ${JSON.stringify(given)}`);
    return value;
  };
  const speed = Object.entries(sizes).flatMap(([name, member]) => {
    const value = number(name);
    return value === undefined ? [] : [[member, value] as const];
  });
  return {
    speed: Object.fromEntries(speed),
    openai: { port: number("http-port") ?? 0, as: mannersNamed(String(values["openai-as"])) },
    triton: {
      port: number("grpc-port") ?? 0,
      decoupled: values.decoupled,
      guided: values.guided,
      counts: values.counts,
    },
    tgis: { port: number("tgis-port") ?? 0, ibm: values["tgis-ibm"] },
    vllm: { port: number("vllm-port") ?? 0 },
    tgi: { port: number("tgi-port") ?? 0 },
    anthropic: { port: number("anthropic-port") ?? 0 },
    ...(values.host === undefined ? {} : { host: values.host }),
    ...(values.record === undefined ? {} : { recordPath: values.record }),
    ...(values.model === undefined ? {} : { models: values.model }),
  };
}

function mannersNamed(name: string): MannersName {
  if (!isMannersName(name)) throw new TypeError(`--openai-as is none of ${Object.keys(manners).join(", ")}: ${name}`);
  return name;
}

function flagsOrExit() {
  try {
    return readFlags(process.argv.slice(2));
  } catch (error) {
    console.error(`${error instanceof Error ? error.message : String(error)}\n${usage}`);
    return process.exit(64);
  }
}

const simulator = await startSimulator({ ...flagsOrExit(), crash: () => process.kill(process.pid, "SIGKILL") });
for (const signal of ["SIGTERM", "SIGINT"] as const) {
  process.once(signal, () => void simulator[Symbol.asyncDispose]());
}
const { httpUrl, grpcUrl, tgisUrl, vllmUrl, tgiUrl, anthropicUrl } = simulator;
console.log(JSON.stringify({ httpUrl, grpcUrl, tgisUrl, vllmUrl, tgiUrl, anthropicUrl, pid: process.pid }));
