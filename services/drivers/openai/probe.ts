import { create } from "@bufbuild/protobuf";
import { type ReplicaLoad, type ReplicaModel, ReplicaModelSchema } from "../../../gen/ts/weir/catalog/v1/replica_pb.ts";
import { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import { fail } from "../../runtime/errors/fail.ts";
import { lengthFrom } from "../counts.ts";
import type { ProbeResult, Sighting } from "../driver.ts";
import type { Connection } from "../http/connection.ts";
import { deploymentOf } from "./azure.ts";
import { azure, type Flavour, flavours, hosted, type Identity, plain } from "./flavours.ts";
import { loadFrom, unknownLoad } from "../http/gauges.ts";
import { isObject, type JsonObject, parsed } from "../http/json.ts";
import { ask, askFreely } from "../http/question.ts";
import { isCredentialStatus, isPassingStatus } from "../http/status.ts";

const modelsMax = 10_000;

const nobody: Identity = { version: "", contextLength: 0, lacks: [] };

/** Whether the server lists models as OpenAI does, or would if it accepted our key. Rejects if nothing listens there. */
export async function isOpenAi(connection: Connection, signal: AbortSignal): Promise<Sighting> {
  const { status, text } = await ask(connection, modelsPath(connection), signal);
  if (isCredentialStatus(status)) return "guarded";
  if (isPassingStatus(status)) return "away";
  return status === 200 && modelList(text) !== undefined ? "yes" : "no";
}

/** Asks what the server is, which models it has and how busy it is. */
export async function probeOpenAi(connection: Connection, signal: AbortSignal): Promise<ProbeResult> {
  const reply = await ask(connection, modelsPath(connection), signal);
  const { status, text } = reply;
  if (isCredentialStatus(status)) throw fail(ErrorReason.ENGINE_CREDENTIAL);
  if (isPassingStatus(status)) throw fail(ErrorReason.ENGINE_UNAVAILABLE);
  const list = modelList(text);
  if (status !== 200 || !list) throw fail(ErrorReason.ENGINE_PROTOCOL, { problem: "it does not list its models" });
  const deployment = deploymentOf(connection);
  // Azure lists what could be deployed; what is, its address says.
  if (deployment) return hostedResult(azure, [{ id: deployment.name }]);
  if (reply.field("openai-version") !== undefined) return hostedResult(hosted, list);

  const { flavour, identity } = await identify(connection, list, signal);
  const ready = await isReady(connection, flavour, signal);
  const load = await loadOf(connection, flavour, signal);
  const models = list.slice(0, modelsMax).flatMap((card) => modelFrom(card, flavour, identity, ready));
  return { engine: `${flavour.engine} ${identity.version}`.trim(), models, load };
}

function modelsPath(connection: Connection): string {
  return deploymentOf(connection)?.modelsPath ?? `${connection.apiPath}/models`;
}

/** A hosted API has neither health nor load to ask for. */
function hostedResult(flavour: Flavour, list: readonly JsonObject[]): ProbeResult {
  const models = list.slice(0, modelsMax).flatMap((card) => modelFrom(card, flavour, nobody, true));
  return { engine: flavour.engine, models, load: unknownLoad() };
}

interface Found {
  readonly flavour: Flavour;
  readonly identity: Identity;
}

/** By the owner of its models, then by what the paths answer that one kind of server has. */
async function identify(connection: Connection, list: readonly JsonObject[], signal: AbortSignal): Promise<Found> {
  const owners = new Set(list.map((card) => card["owned_by"]));
  const named = flavours.find((flavour) => flavour.ownedBy.some((owner) => owners.has(owner)));
  const asked = named ? [named] : flavours;
  const identities = await Promise.all(asked.map((flavour) => question(connection, flavour, list, signal)));
  const at = identities.findIndex((identity) => identity !== undefined);
  return { flavour: named ?? asked[at] ?? plain, identity: identities[at] ?? nobody };
}

async function question(
  connection: Connection,
  flavour: Flavour,
  list: readonly JsonObject[],
  signal: AbortSignal,
): Promise<Identity | undefined> {
  if (!flavour.question) return undefined;
  const { status, text } = await askFreely(connection, connection.rootPath + flavour.question.path, signal);
  const answer = status === 200 ? parsed(text) : undefined;
  return isObject(answer) ? flavour.question.identify(answer, list) : undefined;
}

/** A server that is paused or asleep is healthy, idle by its metrics, and lets every request wait. */
async function isReady(connection: Connection, flavour: Flavour, signal: AbortSignal): Promise<boolean> {
  const [healthy, ...paused] = await Promise.all([
    isHealthy(connection, flavour, signal),
    ...flavour.pausePaths.map((path) => isPaused(connection, path, signal)),
  ]);
  return healthy && !paused.includes(true);
}

async function isHealthy(connection: Connection, { healthPath }: Flavour, signal: AbortSignal): Promise<boolean> {
  if (healthPath === "") return true;
  const { status } = await askFreely(connection, connection.rootPath + healthPath, signal);
  return status > 0 && status < 500;
}

async function isPaused(connection: Connection, path: string, signal: AbortSignal): Promise<boolean> {
  const { status, text } = await askFreely(connection, connection.rootPath + path, signal);
  const answer = status === 200 ? parsed(text) : undefined;
  return isObject(answer) && answer[path.slice(1)] === true;
}

async function loadOf(connection: Connection, flavour: Flavour, signal: AbortSignal): Promise<ReplicaLoad> {
  if (!flavour.gauges) return unknownLoad();
  const { status, text } = await askFreely(connection, connection.rootPath + flavour.metricsPath, signal);
  return status === 200 ? loadFrom(text, flavour.gauges) : unknownLoad();
}

function modelList(text: string): JsonObject[] | undefined {
  const answer = parsed(text);
  if (!isObject(answer) || !Array.isArray(answer["data"])) return undefined;
  return answer["data"].filter(isObject);
}

function modelFrom(card: JsonObject, flavour: Flavour, identity: Identity, ready: boolean): ReplicaModel[] {
  const id = card["id"];
  if (typeof id !== "string" || id === "") return [];
  const told = card["max_model_len"];
  const { contextLength: known, lacks } = identity.models?.get(id) ?? identity;
  const contextLength = lengthFrom(told) || known;
  const features = flavour.features.filter((feature) => !lacks.includes(feature));
  return [
    create(ReplicaModelSchema, {
      engineModel: id,
      contextLength: BigInt(contextLength),
      ready,
      features,
      flavour: flavour.name,
    }),
  ];
}
