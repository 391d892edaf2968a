import { create } from "@bufbuild/protobuf";
import { Dialect, type ReplicaModel } from "../../gen/ts/weir/catalog/v1/replica_pb.ts";
import { type GenerateRequest, GenerateRequestSchema } from "../../gen/ts/weir/router/v1/inference_service_pb.ts";
import { ConversationSchema, MessageSchema, Role } from "../../gen/ts/weir/router/v1/message_pb.ts";
import type { Attempt, Driver, Target } from "../../services/drivers/driver.ts";
import { systemClock } from "../../services/runtime/clock.ts";
import type { SimulatorProcess } from "../fakes/simulator-process.ts";

/** A protocol of engines, as the simulator speaks it. */
export interface EngineWay {
  readonly name: string;
  readonly dialect: Dialect;
  readonly url: keyof SimulatorProcess & `${string}Url`;
  readonly engineModel: string;
  /** The endpoint of the gateway that answers from it, below /v1. */
  readonly endpoint: "completions" | "chat/completions";
}

/** Every protocol that streams. */
export const engineWays: readonly EngineWay[] = [
  way("OpenAI HTTP", Dialect.OPENAI, "httpUrl", "weir-sim"),
  way("Triton ensemble", Dialect.TRITON, "grpcUrl", "ensemble"),
  way("Triton vLLM backend", Dialect.TRITON, "grpcUrl", "vllm_model"),
  way("TGIS", Dialect.TGIS, "tgisUrl", "tgis"),
  way("vLLM gRPC", Dialect.VLLM, "vllmUrl", "weir-sim"),
  way("TGI HTTP", Dialect.TGI, "tgiUrl", "weir-sim"),
  way("Anthropic HTTP", Dialect.ANTHROPIC, "anthropicUrl", "weir-sim", "chat/completions"),
];

function way(
  name: string,
  dialect: Dialect,
  url: EngineWay["url"],
  engineModel: string,
  endpoint: EngineWay["endpoint"] = "completions",
): EngineWay {
  return { name, dialect, url, engineModel, endpoint };
}

/** A way by its name. */
export function wayNamed(name: string): EngineWay {
  const found = engineWays.find((way) => way.name === name);
  if (found === undefined) throw new Error(`no way is called ${name}`);
  return found;
}

/** What the gateway calls the model of a way. */
export function modelId({ name }: EngineWay): string {
  return name.toLowerCase().replaceAll(" ", "-");
}

/** Whether the way is over gRPC: one connection carries all its streams. */
export function isGrpc({ url }: EngineWay): boolean {
  return url === "grpcUrl" || url === "tgisUrl" || url === "vllmUrl";
}

/** A target that bears as much as a bench needs. */
export function targetAt(url: string): Target {
  return {
    url,
    httpUrl: undefined,
    engineKey: "good-key",
    engineKeyHeader: undefined,
    receiveBytesMax: 32 * 1_024 * 1_024,
    firstEventMs: 60_000,
    idleMs: 60_000,
    toolIdleMs: 60_000,
    totalMs: 600_000,
    clock: systemClock,
  };
}

/** What a driver found of the way's model. */
export async function modelOf(way: EngineWay, driver: Driver): Promise<ReplicaModel> {
  const { models } = await driver.probe(AbortSignal.timeout(10_000));
  const found = models.find(({ engineModel }) => engineModel === way.engineModel);
  if (found === undefined) throw new Error(`${way.name}: no model ${way.engineModel}`);
  return found;
}

/** A prompt of 0.3 kB that the simulator answers with so many tokens, also where the protocol cannot ask for that. */
export function promptFor(tokens: number): string {
  return `[[sim length=${tokens}]] ${"Tell me how a weir measures a river. ".repeat(6)}`;
}

/** An attempt that streams so many tokens, the same every time. */
export function attemptOf(way: EngineWay, model: ReplicaModel, id: string, tokens: number): Attempt {
  const text = promptFor(tokens);
  const said = create(MessageSchema, { role: Role.USER, parts: [{ part: { case: "text", value: text } }] });
  const input: GenerateRequest["input"] =
    way.endpoint === "completions"
      ? { case: "prompt", value: text }
      : { case: "conversation", value: create(ConversationSchema, { messages: [said] }) };
  const sampling = { temperature: 0, maxTokens: tokens };
  return {
    id,
    request: create(GenerateRequestSchema, { model: way.name, input, stream: true, sampling }),
    model,
    prompt: undefined,
    maxTokens: tokens,
    extras: {},
    cacheSalt: "",
  };
}
