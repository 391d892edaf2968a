import type { Sampling } from "../../../gen/ts/weir/router/v1/generation_pb.ts";
import type { GenerateRequest } from "../../../gen/ts/weir/router/v1/inference_service_pb.ts";
import type { JsonObject, JsonValue } from "../json/parse.ts";
import { expectString, missing } from "./expect.ts";
import { invalid } from "./invalid.ts";

/** A request while the members of its body are read, one by one. */
export interface Draft {
  /** The body, for rules that look at more than one member. */
  readonly body: JsonObject;
  readonly request: GenerateRequest;
  readonly sampling: Sampling;
  /** Members that were understood and have no effect here. */
  readonly ignored: Set<string>;
  /** Members that the contract has no field for. */
  readonly carried: Map<string, JsonValue>;
  /** Refuse members that are not known, instead of carrying them. */
  readonly strict: boolean;
  includeUsage: boolean;
  /** The caller speaks of functions, as the API did before it had tools, and is answered so. */
  functionCalls: boolean;
}

/** A decoded request, and what its answer must know. */
export interface Decoded {
  /** More than one only where the body holds several prompts: they differ in their input. */
  readonly requests: readonly GenerateRequest[];
  readonly ignored: ReadonlySet<string>;
  /** The caller asked for a last chunk with counts. */
  readonly includeUsage: boolean;
  readonly functionCalls: boolean;
}

/** Reads one member, whose value is not null. Throws INVALID_ARGUMENT or UNSUPPORTED. */
export type Rule = (value: Exclude<JsonValue, null>, draft: Draft, member: string) => void;

/** The form of a model's name in the contract, without steps up a path. */
const modelForm = /^[A-Za-z0-9][A-Za-z0-9._:/@+-]*$/;

/** The model that a body names. */
export function modelNameOf(body: JsonObject): string {
  const model = body["model"];
  if (model === undefined || model === null) throw missing("model");
  const name = expectString(model, "model", 256);
  if (name === "") throw missing("model");
  if (!modelForm.test(name) || name.includes("..")) {
    throw invalid("model", "invalid_value", "must be a model's name, as GET /v1/models lists them");
  }
  return name;
}

/** Starts a request: `model` is read first, because errors name it. */
export function startDraft(body: JsonObject, strict: boolean): Draft {
  const name = modelNameOf(body);
  const sampling = emptySampling();
  return {
    body,
    request: emptyRequest(name, sampling),
    sampling,
    ignored: new Set(),
    carried: new Map(),
    strict,
    includeUsage: false,
    functionCalls: false,
  };
}

/** Reads every member by its rule. Null stands for absence, everywhere. */
export function readMembers(draft: Draft, rules: ReadonlyMap<string, Rule>): void {
  for (const member in draft.body) {
    const value = draft.body[member];
    if (value === null || value === undefined) continue;
    const rule = rules.get(member);
    if (rule !== undefined) rule(value, draft, member);
    else if (draft.strict) throw notKnown(member);
    else draft.carried.set(member, value);
  }
}

/** Members of a body that is not read member by member, beside those that are known. */
export function unknownMembers(
  body: JsonObject,
  known: ReadonlySet<string>,
  strict: boolean,
): ReadonlyMap<string, JsonValue> {
  const unknown = new Map<string, JsonValue>();
  for (const member in body) {
    const value = body[member];
    if (value === null || value === undefined || known.has(member)) continue;
    if (strict) throw notKnown(member);
    unknown.set(member, value);
  }
  return unknown;
}

/** As many as a header tells: a body may hold thousands. */
const ignoredInsideMax = 64;
const ignoredNameMax = 64;

/**
 * Looks for members of an object inside the request that have no place in the contract. They have no effect, and are
 * named, or refused where only known members are taken. Places in lists are left out of the names: one stands for all. One
 * that is no name ends the search, as `holder.*`: the body may hold thousands of them.
 */
export function ignoreUnknown(from: JsonObject, param: string, known: ReadonlySet<string>, draft: Draft): void {
  let holder: string | undefined;
  for (const member in from) {
    const value = from[member];
    if (value === null || value === undefined || known.has(member)) continue;
    if (draft.strict) throw notKnown(`${param}.${member}`);
    if (draft.ignored.size >= ignoredInsideMax) return;
    holder ??= param.replaceAll(/\[\d+\]/g, "[]");
    const name = `${holder}.${member}`;
    if (name.length > ignoredNameMax || !/^[\w-]+$/.test(member)) return void draft.ignored.add(`${holder}.*`);
    draft.ignored.add(name);
  }
}

function notKnown(member: string): Error {
  return invalid(member, "unknown_parameter", "is not known here: leave it out");
}

/** Members of one request, carried as one JSON object: they are for engines, not a second way to send content. */
const extrasBytesMax = 65_536;

/** The JSON text of members that are carried, or an empty one. */
export function extrasJson(carried: ReadonlyMap<string, JsonValue>, param: string): string {
  if (carried.size === 0) return "";
  const text = JSON.stringify(Object.fromEntries(carried));
  if (Buffer.byteLength(text) > extrasBytesMax) {
    throw invalid(
      param,
      "string_above_max_length",
      `carries more than ${extrasBytesMax} bytes of members that are not known here`,
    );
  }
  return text;
}

// Messages are literals with all their fields: `create` sets them one by one through the descriptor, at many times the
// cost.

function emptySampling(): Sampling {
  return { $typeName: "weir.router.v1.Sampling", logitBias: {}, stop: [], stopTokenIds: [], ignoreEos: false };
}

function emptyRequest(model: string, sampling: Sampling): GenerateRequest {
  return {
    $typeName: "weir.router.v1.GenerateRequest",
    model,
    input: { case: undefined },
    sampling,
    choices: 0,
    tools: [],
    toolChoice: undefined,
    parallelToolCalls: undefined,
    responseFormat: undefined,
    logprobs: undefined,
    echo: false,
    suffix: "",
    reasoningEffort: "",
    affinityHint: "",
    stream: false,
    extrasJson: "",
    bestOf: 0,
  };
}
