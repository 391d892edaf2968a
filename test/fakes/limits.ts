import { create, fromJson, type JsonObject } from "@bufbuild/protobuf";
import { type Limit, LimitSchema, LimitSpecSchema } from "../../gen/ts/weir/quota/v1/limit_pb.ts";
import type { LimitReading, LimitStore, LimitVersion } from "../../services/quota/limit-store.ts";

/** A spec in the contract's JSON: 100 requests a minute of project acme-one, or what `over` says; null takes away. */
export function specJson(over: JsonObject = {}): JsonObject {
  const spec = {
    name: "a limit",
    subject: { kind: "SUBJECT_KIND_PROJECT", id: "acme-one" },
    dimension: "DIMENSION_REQUESTS",
    count: "100",
    rate: { per: "60s" },
    ...over,
  };
  return Object.fromEntries(Object.entries(spec).filter(([, value]) => value !== null));
}

/** A limit with such a spec. */
export function limitOf(id: string, over: JsonObject = {}, revision = 1n, orgId = "acme"): Limit {
  return create(LimitSchema, { id, orgId, spec: fromJson(LimitSpecSchema, specJson(over)), revision });
}

/** What readers of limits read, in memory: it can lose its newest changes, and be away. */
export class FakeLimitStore implements Pick<LimitStore, "changesAfter"> {
  revision = 1n;
  readonly versions = new Map<string, LimitVersion>();
  /** Thrown by every reading while it is set. */
  away: Error | undefined;
  readings = 0;

  put(id: string, over: JsonObject = {}): Limit {
    this.revision += 1n;
    const limit = limitOf(id, over, this.revision);
    this.versions.set(id, { limit, deleted: false });
    return limit;
  }

  remove(id: string): void {
    this.revision += 1n;
    const known = this.versions.get(id);
    if (known) this.versions.set(id, { limit: { ...known.limit, revision: this.revision }, deleted: true });
  }

  async changesAfter(after: bigint, limit: number): Promise<LimitReading> {
    this.readings += 1;
    await Promise.resolve();
    if (this.away) throw this.away;
    const changes = [...this.versions.values()]
      .filter((version) => version.limit.revision > after && (after > 0n || !version.deleted))
      .toSorted((a, b) => Number(a.limit.revision - b.limit.revision));
    return { revision: this.revision, changes: changes.slice(0, limit) };
  }
}
