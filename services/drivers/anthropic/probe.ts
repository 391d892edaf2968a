import { create } from "@bufbuild/protobuf";
import { Feature, ReplicaModelSchema, type ReplicaModel } from "../../../gen/ts/weir/catalog/v1/replica_pb.ts";
import { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import { fail } from "../../runtime/errors/fail.ts";
import type { ProbeResult, Sighting } from "../driver.ts";
import type { Connection } from "../http/connection.ts";
import { unknownLoad } from "../http/gauges.ts";
import { isObject, type JsonObject, parsed } from "../http/json.ts";
import { ask } from "../http/question.ts";
import { isCredentialStatus, isPassingStatus } from "../http/status.ts";

/** The largest page that the API gives. There are some dozens of models. */
const pageSize = 1_000;
const pagesMax = 10;

const features: readonly Feature[] = [
  Feature.CONVERSATION,
  Feature.STREAM,
  Feature.TOOLS,
  Feature.TOOL_CHOICE,
  Feature.JSON_SCHEMA,
  Feature.CHOICES,
  Feature.IMAGES,
  Feature.CANCEL,
  Feature.COUNT_CONVERSATION,
];

/** Whether the server lists models as this API does, or would if it accepted our key. Rejects if nothing listens there. */
export async function isAnthropic(connection: Connection, signal: AbortSignal): Promise<Sighting> {
  const { status, text } = await ask(connection, `${connection.apiPath}/models?limit=1`, signal);
  const answer = parsed(text);
  if (isCredentialStatus(status)) return isObject(answer) && answer["type"] === "error" ? "guarded" : "no";
  if (isPassingStatus(status)) return "away";
  return status === 200 && pageIn(answer) !== undefined ? "yes" : "no";
}

/** Asks which models there are. How busy it is it does not say. */
export async function probeAnthropic(connection: Connection, signal: AbortSignal): Promise<ProbeResult> {
  const models: ReplicaModel[] = [];
  let after: string | undefined = "";
  for (let page = 0; page < pagesMax && after !== undefined; page += 1) {
    const from: string = after === "" ? "" : `&after_id=${encodeURIComponent(after)}`;
    const found = await pageAt(connection, `${connection.apiPath}/models?limit=${pageSize}${from}`, signal);
    models.push(...found.cards.flatMap(modelFrom));
    after = found.next;
  }
  return { engine: "anthropic", models, load: unknownLoad() };
}

interface Page {
  readonly cards: readonly JsonObject[];
  /** The id after which the next page begins; undefined: there is none. */
  readonly next: string | undefined;
}

async function pageAt(connection: Connection, path: string, signal: AbortSignal): Promise<Page> {
  const { status, text } = await ask(connection, path, signal);
  if (isCredentialStatus(status)) throw fail(ErrorReason.ENGINE_CREDENTIAL);
  if (isPassingStatus(status)) throw fail(ErrorReason.ENGINE_UNAVAILABLE);
  const page = status === 200 ? pageIn(parsed(text)) : undefined;
  if (!page) throw fail(ErrorReason.ENGINE_PROTOCOL, { problem: "it does not list its models" });
  return page;
}

/** OpenAI's lists have no `has_more`, and say of each model that it is an object. */
function pageIn(answer: unknown): Page | undefined {
  if (!isObject(answer) || !Array.isArray(answer["data"]) || typeof answer["has_more"] !== "boolean") return undefined;
  const cards = answer["data"].filter(isObject);
  if (cards.some((card) => card["type"] !== "model")) return undefined;
  const { has_more: hasMore, last_id: last } = answer;
  return { cards, next: hasMore && typeof last === "string" && last !== "" ? last : undefined };
}

function modelFrom(card: JsonObject): ReplicaModel[] {
  const { id, max_input_tokens: context } = card;
  if (typeof id !== "string" || id === "") return [];
  const isLength = typeof context === "number" && Number.isSafeInteger(context) && context > 0;
  return [
    create(ReplicaModelSchema, {
      engineModel: id,
      contextLength: BigInt(isLength ? context : 0),
      ready: true,
      features: [...features],
      flavour: "anthropic",
    }),
  ];
}
