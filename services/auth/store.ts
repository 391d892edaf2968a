import type { Reach } from "../../gen/ts/weir/auth/v1/principal_pb.ts";

/*
 * What every method of these interfaces promises: it fails with STORE_UNAVAILABLE when the store cannot answer, and
 * with INTERNAL when it answers with nonsense; no other error leaves, except one that a callback threw. Times are
 * milliseconds since the epoch, told by the store's clock. A write takes the store's one lock and a new revision, so
 * that a reader who has seen a revision has seen every write up to it.
 */

/** Whose projects a caller may touch: this one, and only if it belongs to the organisation, where one is named. */
export interface ProjectScope {
  readonly projectId: string;
  readonly orgId: string | undefined;
}

/** The caller's name of a create, unique within the resource's parent, and what it asked for. */
export interface CreateRequest {
  readonly id: string;
  /** Equal for equal requests only. */
  readonly fingerprint: string;
}

/** How a create ended. */
export type Created<T> =
  | { readonly kind: "created"; readonly resource: T }
  /** The same request made it before. */
  | { readonly kind: "repeated"; readonly resource: T }
  /** The request id stands for another request. */
  | { readonly kind: "request_used" }
  | { readonly kind: "id_taken" }
  | { readonly kind: "no_parent" };

/** Which models a key may call. */
export interface KeyModelsSpec {
  readonly all: boolean;
  readonly names: readonly string[];
}

/** What a key's owner sets. */
export interface KeySpec {
  readonly name: string;
  readonly permissions: readonly string[];
  readonly models: KeyModelsSpec;
  readonly startMs: number | undefined;
  readonly expireMs: number | undefined;
  readonly labels: Readonly<Record<string, string>>;
}

/** A key as it is kept, without what proves it. */
export interface StoredKey extends KeySpec {
  readonly id: string;
  readonly orgId: string;
  readonly projectId: string;
  readonly reach: Reach;
  readonly creatorKeyId: string;
  readonly createMs: number;
  readonly updateMs: number;
  readonly revokeMs: number | undefined;
  /** Orders keys by their creation. */
  readonly createRevision: bigint;
}

/** What a presented key is held against. */
export interface KeyProof {
  /** HMAC-SHA-256 of the whole key: 32 bytes. */
  readonly mac: Uint8Array;
  readonly pepperVersion: number;
}

/** A key to keep. */
export interface NewKey extends KeySpec, KeyProof {
  readonly id: string;
  readonly reach: Reach;
  /** The key that makes it; empty: the process itself. */
  readonly creatorKeyId: string;
  readonly request: CreateRequest;
}

/** The key that asks for a write, as it is when the write runs: nobody's memory of it. */
export interface Writer {
  readonly key: StoredKey;
  readonly nowMs: number;
}

/** How many keys that were not revoked there can be. */
export interface KeyBounds {
  readonly perProject: number;
  readonly perOrg: number;
}

/** Which keys a list is to show, newest first. */
export interface KeyPage {
  readonly limit: number;
  /** Of text: the page ends with the key that reaches it. */
  readonly bytesMax: number;
  /** Only keys that were created before this revision. */
  readonly before: bigint | undefined;
  /** Also those that were revoked. */
  readonly revoked: boolean;
}

/**
 * Keys as their owners see them. A write reads the key that asks for it (`key.creatorKeyId`, `by`) under the lock, and
 * shows it to a callback; undefined if there is no such key. What the callback throws leaves all as it was.
 */
export interface KeyStore {
  /** Not judged, and not made, where there is no such project. */
  create(
    project: ProjectScope,
    key: NewKey,
    bounds: KeyBounds,
    check: (writer: Writer | undefined) => void,
  ): Promise<Created<StoredKey> | { readonly kind: "project_full" } | { readonly kind: "org_full" }>;
  get(project: ProjectScope, keyId: string): Promise<StoredKey | undefined>;
  /** `more`: others follow after these. */
  list(project: ProjectScope, page: KeyPage): Promise<{ readonly keys: readonly StoredKey[]; readonly more: boolean }>;
  /** Replaces what the owner sets by what `change` makes of it. */
  update(
    project: ProjectScope,
    keyId: string,
    by: string,
    change: (key: StoredKey, writer: Writer | undefined) => KeySpec,
  ): Promise<StoredKey | undefined>;
  /** Revokes for good. A revoked key stays as it is. */
  revoke(
    project: ProjectScope,
    keyId: string,
    by: string,
    check: (key: StoredKey, writer: Writer | undefined) => void,
  ): Promise<StoredKey | undefined>;
}

/** What was read at which moment of the store. */
export interface Moment {
  readonly revision: bigint;
  /**
   * What the revision counts within: another one when the store may have lost what it told, because another server
   * answers, the server was started anew, or its tables were.
   */
  readonly epoch: string;
  readonly nowMs: number;
}

/** A key that changed after it was made. */
export interface KeyChanged {
  readonly keyId: string;
  readonly revoked: boolean;
  readonly revision: bigint;
}

/** What the data path asks. */
export interface CredentialStore {
  /** The key and what proves it, if there is such a key. */
  find(keyId: string): Promise<Moment & { readonly found: { key: StoredKey; proof: KeyProof } | undefined }>;
  /**
   * Keys by the revision of their last change, those above `after`, at most `limit` of them. With fewer than `limit`
   * there is no other up to the moment's revision.
   */
  changesAfter(after: bigint, limit: number): Promise<Moment & { readonly changes: readonly KeyChanged[] }>;
  /** Those of the ids whose keys were revoked, or are not there. */
  revokedOf(keyIds: readonly string[]): Promise<readonly string[]>;
  /** Whose a project is; undefined if there is no such project. */
  orgOf(projectId: string): Promise<string | undefined>;
  hasOrg(orgId: string): Promise<boolean>;
}

/** An organisation or project as it is kept. */
export interface StoredOrg {
  readonly id: string;
  readonly name: string;
  readonly createMs: number;
  readonly updateMs: number;
}

export interface StoredProject extends StoredOrg {
  readonly orgId: string;
}

/** A page by id: those after `after`. */
export interface IdPage {
  readonly limit: number;
  readonly after: string;
}

/** Organisations and projects. */
export interface TenantStore {
  createOrg(org: { id: string; name: string; request: CreateRequest }): Promise<Created<StoredOrg>>;
  getOrg(orgId: string): Promise<StoredOrg | undefined>;
  listOrgs(page: IdPage): Promise<readonly StoredOrg[]>;
  renameOrg(orgId: string, name: string): Promise<StoredOrg | undefined>;
  createProject(project: {
    id: string;
    orgId: string;
    name: string;
    request: CreateRequest;
  }): Promise<Created<StoredProject>>;
  getProject(project: ProjectScope): Promise<StoredProject | undefined>;
  listProjects(orgId: string, page: IdPage): Promise<readonly StoredProject[]>;
  renameProject(project: ProjectScope, name: string): Promise<StoredProject | undefined>;
}

/** What is settled once an installation. */
export interface InstallationStore {
  /**
   * Makes the organisation and project `default` where they are missing, and the key in the project unless a first key
   * was made before. Returns the first key's id and whether this call made it.
   *
   * @param replace makes the key also then; it becomes the first key. The former one stays as it is.
   */
  keepFirstKey(
    key: Omit<NewKey, "request" | "creatorKeyId">,
    replace: boolean,
  ): Promise<{ keyId: string; made: boolean }>;
  /** The first key's id, if one was made. */
  firstKeyId(): Promise<string | undefined>;
  /** Keeps the fingerprints that are new, by version, and returns all that are kept. */
  keepPeppers(fingerprints: ReadonlyMap<number, string>): Promise<ReadonlyMap<number, string>>;
}

/** All of it; see each part. */
export interface AuthStore {
  readonly keys: KeyStore;
  readonly credentials: CredentialStore;
  readonly tenants: TenantStore;
  readonly installation: InstallationStore;
}
