import { Reach } from "../../gen/ts/weir/auth/v1/principal_pb.ts";
import { ErrorReason } from "../../gen/ts/weir/error/v1/error_pb.ts";
import type { Peppers } from "../../services/auth/pepper.ts";
import type { CredentialStore, KeyProof, StoredKey } from "../../services/auth/store.ts";
import type { Clock } from "../../services/runtime/clock.ts";
import { fail } from "../../services/runtime/errors/fail.ts";
import { formatKey } from "../../services/runtime/identity/key-format.ts";

/** Keys in memory, in a store that can be away, hang or answer late. */
export class FakeCredentialStore implements CredentialStore {
  /** Every method fails. */
  away = false;
  /** No method answers. */
  hangs = false;
  /** Answers to `find` are read at once and told when this settles. */
  delay: Promise<void> | undefined;
  /** `changesAfter` reads and answers when this has settled. */
  watchDelay: Promise<void> | undefined;
  /** How many keys were asked for. */
  finds = 0;
  /** Ids of keys that were hashed with a pepper which the auth service does not have. */
  readonly foreign = new Set<string>();
  revision = 1n;
  epoch = "first";
  readonly #keys = new Map<string, { key: StoredKey; text: string; changed: bigint }>();
  readonly #clock: Clock;
  readonly #peppers: Peppers;
  readonly #startMs: number;

  /** The store's own time goes on from the clock's, whatever happens to that. */
  constructor(clock: Clock, peppers: Peppers) {
    this.#clock = clock;
    this.#peppers = peppers;
    this.#startMs = clock.nowMs() - clock.monotonicMs();
  }

  get nowMs(): number {
    return this.#startMs + this.#clock.monotonicMs();
  }

  /** Makes a key and returns it whole. The name becomes its id, padded. */
  add(name: string, over: Partial<StoredKey> = {}): string {
    const id = name.padEnd(12, "0");
    const text = formatKey(id, name.padStart(30, "s"));
    const key: StoredKey = {
      id,
      orgId: "org",
      projectId: "project",
      name,
      reach: Reach.PROJECT,
      permissions: ["models.invoke"],
      models: { all: true, names: [] },
      startMs: undefined,
      expireMs: undefined,
      labels: {},
      creatorKeyId: "",
      createMs: this.nowMs,
      updateMs: this.nowMs,
      revokeMs: undefined,
      createRevision: ++this.revision,
      ...over,
    };
    this.#keys.set(id, { key, text, changed: 0n });
    return text;
  }

  /** Changes a key. */
  change(text: string, over: Partial<StoredKey>): void {
    const id = text.slice(5, 17);
    const before = this.#keys.get(id);
    if (!before) throw new Error(`no key ${id}`);
    this.#keys.set(id, { ...before, key: { ...before.key, ...over }, changed: ++this.revision });
  }

  revoke(text: string): void {
    this.change(text, { revokeMs: this.nowMs });
  }

  async find(keyId: string): ReturnType<CredentialStore["find"]> {
    this.finds += 1;
    await this.#answering();
    const entry = this.#keys.get(keyId);
    const found = entry && { key: entry.key, proof: this.#proofOf(keyId, entry.text) };
    const answer = { revision: this.revision, epoch: this.epoch, nowMs: this.nowMs, found };
    await this.delay;
    return answer;
  }

  async changesAfter(after: bigint, limit: number): ReturnType<CredentialStore["changesAfter"]> {
    await this.#answering();
    await this.watchDelay;
    const changes = [...this.#keys.values()]
      .filter(({ changed }) => changed > after)
      .sort((a, b) => Number(a.changed - b.changed))
      .slice(0, limit)
      .map(({ key, changed }) => ({ keyId: key.id, revoked: key.revokeMs !== undefined, revision: changed }));
    return { revision: this.revision, epoch: this.epoch, nowMs: this.nowMs, changes };
  }

  async revokedOf(keyIds: readonly string[]): ReturnType<CredentialStore["revokedOf"]> {
    await this.#answering();
    return keyIds.filter((id) => this.#keys.get(id)?.key.revokeMs !== undefined || !this.#keys.has(id));
  }

  async orgOf(projectId: string): ReturnType<CredentialStore["orgOf"]> {
    await this.#answering();
    return [...this.#keys.values()].find(({ key }) => key.projectId === projectId)?.key.orgId;
  }

  async hasOrg(orgId: string): ReturnType<CredentialStore["hasOrg"]> {
    await this.#answering();
    return [...this.#keys.values()].some(({ key }) => key.orgId === orgId);
  }

  #proofOf(keyId: string, text: string): KeyProof {
    const proof = this.#peppers.proofOf(text);
    return this.foreign.has(keyId) ? { ...proof, pepperVersion: proof.pepperVersion + 1 } : proof;
  }

  async #answering(): Promise<void> {
    if (this.hangs) await new Promise(() => {});
    if (this.away) throw fail(ErrorReason.STORE_UNAVAILABLE, { store: "auth store" });
  }
}
