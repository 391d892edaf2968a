import type { Limit, LimitSpec, Subject } from "../../gen/ts/weir/quota/v1/limit_pb.ts";

/*
 * What every method promises: it fails with STORE_UNAVAILABLE when the store cannot answer, and with INTERNAL when it
 * answers with nonsense; no other error leaves, except one that a callback threw. A write takes the store's one lock and
 * a new revision, so that a reader who has seen a revision has seen every write up to it. Times are the store's.
 */

/** A limit to keep. */
export interface NewLimit {
  readonly id: string;
  /** The organisation that it is kept under. */
  readonly orgId: string;
  readonly spec: LimitSpec;
  /** The caller's name of the create, unique within the organisation. */
  readonly requestId: string;
  /** Equal for equal requests only. */
  readonly fingerprint: string;
}

/** How many limits there may be. */
export interface LimitBounds {
  readonly perSubject: number;
  readonly perOrg: number;
}

/** How a create ended. */
export type LimitCreated =
  /** It was made now, or by the same request before. */
  | { readonly kind: "made"; readonly limit: Limit }
  /** The request id stands for another request. */
  | { readonly kind: "request_used" }
  /** There are as many as there may be. */
  | { readonly kind: "subject_full" | "org_full" };

/** Which limits of an organisation, newest first. */
export interface LimitPage {
  readonly limit: number;
  /** Only those that were made before that revision. */
  readonly before: bigint | undefined;
  /** Only those of this subject. */
  readonly subject: Subject | undefined;
}

/** A limit in a list. */
export interface ListedLimit {
  readonly limit: Limit;
  /** Orders limits by their creation. */
  readonly createRevision: bigint;
}

/** A limit as it is since its revision. */
export interface LimitVersion {
  readonly limit: Limit;
  readonly deleted: boolean;
}

/** What was read at which moment of the store. */
export interface LimitReading {
  /** The store's newest revision; below the one that was asked from if the store has lost changes. */
  readonly revision: bigint;
  /** By revision. */
  readonly changes: readonly LimitVersion[];
}

/** Limits as they are set. */
export interface LimitStore {
  create(limit: NewLimit, bounds: LimitBounds): Promise<LimitCreated>;
  get(orgId: string, limitId: string): Promise<Limit | undefined>;
  list(orgId: string, page: LimitPage): Promise<readonly ListedLimit[]>;
  /** Replaces the spec by what `change` makes of it under the lock. What that throws leaves all as it was. */
  update(orgId: string, limitId: string, change: (limit: Limit) => LimitSpec): Promise<Limit | undefined>;
  /** Deletes for good; `check` may throw. Nothing happens to one that is not there. */
  delete(orgId: string, limitId: string, check: (limit: Limit) => void): Promise<void>;
  /**
   * Limits by the revision of their last change, those above `after`, at most `limit` of them. With fewer than `limit`
   * there is no other up to the reading's revision. From 0 on, deleted ones are left out.
   */
  changesAfter(after: bigint, limit: number): Promise<LimitReading>;
}
