import { type Principal, Reach } from "../../gen/ts/weir/auth/v1/principal_pb.ts";
import { ErrorReason } from "../../gen/ts/weir/error/v1/error_pb.ts";
import { type Limit, Operation, SubjectKind } from "../../gen/ts/weir/quota/v1/limit_pb.ts";
import type {
  CreateLimitRequest,
  GetLimitStatusRequest,
  LimitService,
  ListLimitsRequest,
} from "../../gen/ts/weir/quota/v1/limit_service_pb.ts";
import { invalid, maskedFields } from "../runtime/arguments.ts";
import { fail, type WeirError } from "../runtime/errors/fail.ts";
import type { CallContext } from "../runtime/mesh/context.ts";
import type { ServiceImplementation } from "../runtime/mesh/registry.ts";
import { keyFromToken, tokenFromKey } from "../runtime/paging.ts";
import type { LimitFollower } from "./limit-follower.ts";
import { changeable, changedSpec, checkSpec, fingerprintOfSpec, missingReach } from "./limit-rules.ts";
import type { LimitBounds, LimitStore } from "./limit-store.ts";
import { fullestFirst } from "./status-order.ts";
import type { QuotaStore } from "./store.ts";
import { notFound, type SubjectOwners } from "./subject-owner.ts";

const pageSizeDefault = 50;
/** Five subjects count a request: their limits have to fit the 256 that the contract lets one call name. */
const bounds: LimitBounds = { perSubject: 50, perOrg: 10_000 };
/** As many as the contract promises. */
const statusMax = 256;

export interface LimitServiceOptions {
  readonly limits: LimitStore;
  readonly follower: Pick<LimitFollower, "book" | "refresh">;
  readonly counts: Pick<QuotaStore, "status">;
  readonly owners: SubjectOwners;
  readonly newLimitId: () => string;
}

/** Makes, shows, changes and removes limits, and tells how full they are. */
export function limitService(options: LimitServiceOptions): ServiceImplementation<typeof LimitService> {
  const { limits, follower } = options;

  /** Lets this process count by what was written. Another way to it is the next reading: a failure now harms nobody. */
  const written = () => follower.refresh().catch(() => {});

  return {
    async createLimit(request, context) {
      const limit = await createLimit(options, request, context);
      await written();
      return { limit };
    },

    async getLimit({ limitId }, { scope }) {
      return { limit: limitOr(await limits.get(scope.id, limitId), limitId) };
    },

    listLimits: (request, { scope }) => listLimits(limits, request, scope.id),

    async updateLimit(request, { scope, principal }) {
      const { limitId, updateMask } = request;
      const fields = maskedFields(updateMask, changeable);
      const limit = await limits.update(scope.id, limitId, (current) => {
        checkReach(current.spec?.subject?.kind, principal);
        if (current.spec === undefined) throw notFound("limit", limitId);
        return changedSpec(current.spec, request, fields);
      });
      await written();
      return { limit: limitOr(limit, limitId) };
    },

    async deleteLimit({ limitId }, { scope, principal }) {
      await limits.delete(scope.id, limitId, ({ spec }) => checkReach(spec?.subject?.kind, principal));
      await written();
      return {};
    },

    getLimitStatus: (request, context) => getStatus(options, request, context),
  };
}

async function createLimit(
  { limits, owners, newLimitId }: LimitServiceOptions,
  { requestId, spec }: CreateLimitRequest,
  { scope, principal }: CallContext,
): Promise<Limit> {
  const subject = spec?.subject;
  if (spec === undefined || subject === undefined) throw invalid("spec", "it is not set", "missing_required_parameter");
  // Before anybody is asked whether it exists: the answer must not tell.
  checkReach(subject.kind, principal);
  checkSpec(spec, "spec.");
  await owners.check(subject, scope.id);
  const fingerprint = fingerprintOfSpec(spec);
  const made = await limits.create({ id: newLimitId(), orgId: scope.id, spec, requestId, fingerprint }, bounds);
  switch (made.kind) {
    case "made":
      return made.limit;
    case "request_used":
      throw fail(ErrorReason.ALREADY_EXISTS, { request_id: requestId });
    case "subject_full":
      throw full("spec.subject", `it has ${bounds.perSubject} limits, the most that one can have`);
    case "org_full":
      throw full("org_id", `${bounds.perOrg} limits are kept under it, the most that there can be`);
  }
}

function full(param: string, problem: string): WeirError {
  return invalid(param, `${problem}; delete one, or change one that is there`);
}

async function listLimits(limits: LimitStore, request: ListLimitsRequest, orgId: string) {
  const size = request.pageSize || pageSizeDefault;
  const before = revisionFrom(request.pageToken);
  const found = await limits.list(orgId, { limit: size + 1, before, subject: request.subject });
  const page = found.slice(0, size);
  const last = page.at(-1);
  return {
    limits: page.map(({ limit }) => limit),
    nextPageToken: last && found.length > size ? tokenFromKey(String(last.createRevision)) : "",
  };
}

async function getStatus(
  { follower, counts, owners }: LimitServiceOptions,
  request: GetLimitStatusRequest,
  { scope, principal }: CallContext,
) {
  const own = principal?.projectId === scope.id ? principal.keyId : "";
  const keyId = request.keyId || own;
  if (keyId !== own) await owners.checkKey(keyId, scope.id);
  const consumer = { orgId: scope.orgId, projectId: scope.id, userId: "", keyId };
  const limits = follower.book.applying({ consumer, model: request.model, operation: Operation.UNSPECIFIED });
  const statuses = await counts.status(limits);
  return { limits: statuses.toSorted(fullestFirst).slice(0, statusMax) };
}

/** A limit is written from above its subject. */
function checkReach(kind: SubjectKind | undefined, principal: Principal | undefined): void {
  const reach = missingReach(kind ?? SubjectKind.INSTALLATION, principal?.reach ?? Reach.UNSPECIFIED);
  if (reach !== undefined) throw fail(ErrorReason.GRANT_EXCEEDS_GRANTOR, { permission: reach });
}

function limitOr(limit: Limit | undefined, limitId: string): Limit {
  if (!limit) throw notFound("limit", limitId);
  return limit;
}

/** 2^63 has 19 digits. */
const revisionShape = /^\d{1,18}$/;

function revisionFrom(token: string): bigint | undefined {
  const text = keyFromToken(token);
  if (text === "") return undefined;
  if (!revisionShape.test(text)) throw invalid("page_token", "it is no next_page_token of this list");
  return BigInt(text);
}
