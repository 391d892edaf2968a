import { type Timestamp, timestampMs } from "@bufbuild/protobuf/wkt";
import type { KeyModels } from "../../gen/ts/weir/auth/v1/key_pb.ts";
import type { CreateKeyRequest, KeyService, UpdateKeyRequest } from "../../gen/ts/weir/auth/v1/key_service_pb.ts";
import { Reach } from "../../gen/ts/weir/auth/v1/principal_pb.ts";
import { ErrorReason } from "../../gen/ts/weir/error/v1/error_pb.ts";
import { checkText, fingerprintOf, invalid, maskedFields } from "../runtime/arguments.ts";
import { fail, type WeirError } from "../runtime/errors/fail.ts";
import type { CallContext } from "../runtime/mesh/context.ts";
import type { ServiceImplementation } from "../runtime/mesh/registry.ts";
import { keyFromToken, tokenFromKey } from "../runtime/paging.ts";
import { excessOf, excessReach, type Grant, grantorFrom } from "./grants.ts";
import { grantorNow } from "./grantor-now.ts";
import { makeCredential } from "./key-material.ts";
import { keyFromStored } from "./key-message.ts";
import type { Peppers } from "./pepper.ts";
import { createdOr, notFound, projectScope } from "./scope.ts";
import type { KeyBounds, KeyModelsSpec, KeySpec, KeyStore, NewKey, StoredKey } from "./store.ts";

const pageSizeDefault = 50;
/** Of a page, in bytes of text. */
const pageBytesMax = 1_048_576;
/** As many as the contract says. */
const bounds: KeyBounds = { perProject: 10_000, perOrg: 50_000 };
/** Characters of a key's model names together, as the contract says. */
const modelNamesLengthMax = 16_384;
/** What a key may do whose maker did not say. */
const permissionsDefault: readonly string[] = ["models.invoke", "models.read"];
const updatable = ["name", "permissions", "models", "start_time", "expire_time", "labels"] as const;
/** Changing one of these makes a grant. */
const granting = ["permissions", "models", "start_time", "expire_time"] as const;

type UpdatableField = (typeof updatable)[number];

export interface KeyServiceOptions {
  readonly store: KeyStore;
  readonly peppers: Peppers;
  readonly randomBytes: (length: number) => Uint8Array;
  /** Every permission that a contract asks for, and "*". */
  readonly permissions: () => ReadonlySet<string>;
}

/** Makes, shows, changes and withdraws keys. */
export function keyService(options: KeyServiceOptions): ServiceImplementation<typeof KeyService> {
  const { store, permissions } = options;
  return {
    createKey: (request, context) => createKey(options, request, context),

    async getKey({ keyId }, context) {
      const key = await store.get(projectScope(context), keyId);
      return { key: keyFromStored(foundOr(key, keyId)) };
    },

    async listKeys({ pageSize, pageToken, showRevoked }, context) {
      const limit = pageSize || pageSizeDefault;
      const before = revisionFrom(pageToken);
      const page = { limit, bytesMax: pageBytesMax, before, revoked: showRevoked };
      const { keys, more } = await store.list(projectScope(context), page);
      const last = keys.at(-1);
      return {
        keys: keys.map(keyFromStored),
        nextPageToken: last && more ? tokenFromKey(String(last.createRevision)) : "",
      };
    },

    async updateKey(request, context) {
      const fields = maskedFields(request.updateMask, updatable);
      const by = context.principal?.keyId ?? "";
      const key = await store.update(projectScope(context), request.keyId, by, (current, writer) => {
        const grantor = grantorNow(context.principal, writer);
        checkReach(current, grantor);
        if (current.revokeMs !== undefined) throw fail(ErrorReason.KEY_REVOKED, { key_id: current.id });
        const spec = changed(current, request, fields);
        checkSpec(spec, fields.has("permissions") ? permissions() : undefined);
        // Whoever changes what a key may do answers for all of it, as if they made it.
        if (granting.some((field) => fields.has(field))) checkGrant({ ...spec, reach: current.reach }, grantor);
        return spec;
      });
      return { key: keyFromStored(foundOr(key, request.keyId)) };
    },

    async revokeKey({ keyId }, context) {
      const by = context.principal?.keyId ?? "";
      const key = await store.revoke(projectScope(context), keyId, by, (current, writer) => {
        checkReach(current, grantorNow(context.principal, writer));
      });
      return { key: keyFromStored(foundOr(key, keyId)) };
    },
  };
}

async function createKey(options: KeyServiceOptions, request: CreateKeyRequest, context: CallContext) {
  const project = projectScope(context);
  const spec = newSpec(request, grantorFrom(context.principal));
  const reach = request.reach || Reach.PROJECT;
  checkSpec(spec, options.permissions());
  const { id, key } = makeCredential(options.randomBytes);
  const made: NewKey = {
    ...spec,
    ...options.peppers.proofOf(key),
    id,
    reach,
    creatorKeyId: context.principal?.keyId ?? "",
    request: { id: request.requestId, fingerprint: fingerprintOf({ ...spec, reach }) },
  };
  const outcome = await options.store.create(project, made, bounds, (writer) => {
    checkGrant({ ...spec, reach }, grantorNow(context.principal, writer));
  });
  if (outcome.kind === "project_full") throw full("project_id", `it has ${bounds.perProject} keys`);
  if (outcome.kind === "org_full") throw full("org_id", `its projects have ${bounds.perOrg} keys`);
  const parent = notFound("project", project.projectId);
  const kept = createdOr(outcome, { requestId: request.requestId, resource: "key", id, parent });
  return { key: keyFromStored(kept), secret: outcome.kind === "created" ? key : "" };
}

function newSpec(request: CreateKeyRequest, grantor: Grant): KeySpec {
  return {
    name: request.name,
    permissions: request.permissions.length > 0 ? request.permissions : permissionsDefault,
    models: request.models ? modelsFrom(request.models) : grantor.models,
    startMs: msFrom("start_time", request.startTime),
    expireMs: msFrom("expire_time", request.expireTime),
    labels: request.labels,
  };
}

/** The key with the masked fields of the request. */
function changed(current: StoredKey, request: UpdateKeyRequest, fields: ReadonlySet<UpdatableField>): KeySpec {
  if (fields.has("models") && !request.models) {
    throw invalid("models", "update_mask names it, and it is not set", "missing_required_parameter");
  }
  return {
    name: fields.has("name") ? request.name : current.name,
    permissions: fields.has("permissions") ? request.permissions : current.permissions,
    models: fields.has("models") && request.models ? modelsFrom(request.models) : current.models,
    startMs: fields.has("start_time") ? msFrom("start_time", request.startTime) : current.startMs,
    expireMs: fields.has("expire_time") ? msFrom("expire_time", request.expireTime) : current.expireMs,
    labels: fields.has("labels") ? request.labels : current.labels,
  };
}

/** What the contract's own rules can't say. */
function checkSpec(spec: KeySpec, known: ReadonlySet<string> | undefined): void {
  if (spec.name === "") throw invalid("name", "it is empty", "string_below_min_length");
  checkText("name", spec.name);
  for (const [label, value] of Object.entries(spec.labels)) checkText("labels", label + value);
  if (spec.startMs !== undefined && spec.expireMs !== undefined && spec.startMs >= spec.expireMs) {
    throw invalid("expire_time", "it is not after start_time");
  }
  const unknown = known && spec.permissions.findIndex((permission) => !known.has(permission));
  if (unknown !== undefined && unknown >= 0) {
    throw invalid(`permissions[${unknown}]`, "no method asks for this permission");
  }
}

function checkGrant(grant: Grant, grantor: Grant): void {
  const permission = excessOf(grant, grantor);
  if (permission !== undefined) throw fail(ErrorReason.GRANT_EXCEEDS_GRANTOR, { permission });
}

/** A key that reaches further than the caller's is not the caller's to change. */
function checkReach(key: StoredKey, grantor: Grant): void {
  const permission = excessReach(key.reach, grantor);
  if (permission !== undefined) throw fail(ErrorReason.GRANT_EXCEEDS_GRANTOR, { permission });
}

function foundOr(key: StoredKey | undefined, keyId: string): StoredKey {
  if (!key) throw notFound("key", keyId);
  return key;
}

function full(param: string, problem: string): WeirError {
  return invalid(param, `${problem}, the most that there can be; revoke one, or change one that is there`);
}

function modelsFrom({ all, names }: KeyModels): KeyModelsSpec {
  const length = names.reduce((sum, name) => sum + name.length, 0);
  if (length > modelNamesLengthMax) {
    throw invalid("models.names", `they have ${length} characters, more than ${modelNamesLengthMax}; use patterns`);
  }
  return { all, names };
}

/** The contract bounds the whole seconds. */
function msFrom(param: string, time: Timestamp | undefined): number | undefined {
  if (time === undefined) return undefined;
  if (time.nanos < 0 || time.nanos > 999_999_999) throw invalid(param, "its nanos are not within a second");
  return timestampMs(time);
}

/** 2^63 has 19 digits. */
const revisionShape = /^\d{1,18}$/;

function revisionFrom(token: string): bigint | undefined {
  const text = keyFromToken(token);
  if (text === "") return undefined;
  if (!revisionShape.test(text)) throw invalid("page_token", "it is no next_page_token of this list");
  return BigInt(text);
}
