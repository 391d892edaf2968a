import { create } from "@bufbuild/protobuf";
import {
  Feature,
  type ReplicaLoad,
  ReplicaLoadSchema,
  ReplicaModelSchema,
} from "../../../gen/ts/weir/catalog/v1/replica_pb.ts";
import { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import { fail } from "../../runtime/errors/fail.ts";
import type { ProbeResult, Sighting } from "../driver.ts";
import type { Connection } from "../http/connection.ts";
import { loadFrom, samples, unknownLoad } from "../http/gauges.ts";
import { isObject, type JsonObject, parsed } from "../http/json.ts";
import { ask, askBy, askFreely } from "../http/question.ts";
import { isCredentialStatus, isPassingStatus } from "../http/status.ts";
import { chatModel, type TgiInterface } from "./interface.ts";

/** As many as TGI takes where it is not told otherwise. */
const stopsMaxDefault = 4;

/** Servers before 3.2 stream a call as the text that their grammar is of, name and all. */
const streamsCallsSince = [3, 2] as const;

const gauges = { running: "tgi_batch_current_size", waiting: "tgi_queue_size", kvUsed: "" };

/** Whether the server is TGI. One that refuses our key may be anything. Rejects if nothing listens there. */
export async function isTgi(connection: Connection, signal: AbortSignal): Promise<Sighting> {
  const { status, text } = await ask(connection, `${connection.rootPath}/info`, signal);
  if (isPassingStatus(status)) return "away";
  return status === 200 && infoIn(text) !== undefined ? "yes" : "no";
}

/** Asks what a server is, which model it has and how busy it is. One is for one replica, and remembers its template. */
export function createTgiProbe(connection: Connection): (signal: AbortSignal) => Promise<ProbeResult> {
  let chats: { readonly model: string; readonly takes: boolean } | undefined;

  // Each such question counts as a request in its metrics: it is asked once a model.
  async function takesChats(model: string, signal: AbortSignal): Promise<boolean> {
    if (chats?.model === model) return chats.takes;
    const messages = [{ role: "user", content: "a weir" }];
    const { status } = await askBy(connection, "/chat_tokenize", { model: chatModel, messages }, signal);
    if (status === 200 || status === 422 || status === 404) chats = { model, takes: status === 200 };
    return status === 200;
  }

  return async (signal) => {
    const { status, text } = await ask(connection, `${connection.rootPath}/info`, signal);
    if (isCredentialStatus(status)) throw fail(ErrorReason.ENGINE_CREDENTIAL);
    if (isPassingStatus(status)) throw fail(ErrorReason.ENGINE_UNAVAILABLE);
    const info = infoIn(text);
    if (status !== 200 || !info) throw fail(ErrorReason.ENGINE_PROTOCOL, { problem: "it does not say what it is" });
    const { name, version, contextLength, stopsMax, pipeline } = info;
    const [ready, load, conversation] = await Promise.all([
      askFreely(connection, `${connection.rootPath}/health`, signal),
      askFreely(connection, `${connection.rootPath}/metrics`, signal),
      takesChats(name, signal),
    ]);
    const described: TgiInterface = { stopsMax, streamsCalls: streamsCalls(version) };
    const model = create(ReplicaModelSchema, {
      engineModel: name,
      contextLength: BigInt(contextLength),
      ready: ready.status === 200,
      features: featuresOf(conversation, pipeline),
      flavour: "tgi",
      interfaceJson: JSON.stringify(described),
    });
    return {
      engine: `tgi ${version}`.trim(),
      models: [model],
      load: load.status === 200 ? loadOf(load.text) : unknownLoad(),
    };
  };
}

interface Info {
  readonly name: string;
  readonly version: string;
  readonly contextLength: number;
  readonly stopsMax: number;
  readonly pipeline: string;
}

/** What a server says of itself; undefined: it is no TGI. Servers of embeddings say something like it. */
function infoIn(text: string): Info | undefined {
  const info = parsed(text);
  if (!isObject(info)) return undefined;
  const name = info["model_id"];
  const contextLength = countOf(info, "max_total_tokens");
  if (typeof name !== "string" || name === "" || contextLength === undefined) return undefined;
  const { version, model_pipeline_tag: pipeline } = info;
  return {
    name,
    version: typeof version === "string" ? version : "",
    contextLength,
    stopsMax: countOf(info, "max_stop_sequences") ?? stopsMaxDefault,
    pipeline: typeof pipeline === "string" ? pipeline : "",
  };
}

/** A server that does not say how old it is is taken for a new one. */
function streamsCalls(version: string): boolean {
  const [, major, minor] = /^(\d+)\.(\d+)/.exec(version) ?? [];
  if (major === undefined || minor === undefined) return true;
  const [majorSince, minorSince] = streamsCallsSince;
  return Number(major) > majorSince || (Number(major) === majorSince && Number(minor) >= minorSince);
}

function countOf(info: JsonObject, name: string): number | undefined {
  const value = info[name];
  return typeof value === "number" && Number.isSafeInteger(value) && value > 0 ? value : undefined;
}

function featuresOf(conversation: boolean, pipeline: string): Feature[] {
  const features: Feature[] = [
    Feature.PROMPT,
    Feature.STREAM,
    Feature.JSON_SCHEMA,
    Feature.PATTERN,
    Feature.LOGPROBS,
    Feature.CHOICES,
    Feature.CANCEL,
    Feature.COUNT_TOKENS,
  ];
  if (conversation) features.push(Feature.CONVERSATION, Feature.TOOLS, Feature.TOOL_CHOICE, Feature.COUNT_CONVERSATION);
  if (conversation && pipeline === "image-text-to-text") features.push(Feature.IMAGES);
  return features;
}

/** How full it is: the tokens that its batch may come to, of those that fit. */
function loadOf(metrics: string): ReplicaLoad {
  const { running, waiting } = loadFrom(metrics, gauges);
  const [used] = samples(metrics, "tgi_batch_current_max_tokens");
  const [most] = samples(metrics, "tgi_batch_max_total_tokens");
  const kvUsed = used === undefined || !most ? -1 : Math.min(1, used / most);
  return create(ReplicaLoadSchema, { running, waiting, kvUsed });
}
