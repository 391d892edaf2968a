import { timestampMs } from "@bufbuild/protobuf/wkt";
import { type Principal, Reach } from "../../gen/ts/weir/auth/v1/principal_pb.ts";
import { allows } from "../runtime/identity/allow.ts";
import type { KeyModelsSpec } from "./store.ts";

/** What a key lets its holder do, and for how long. */
export interface Grant {
  readonly reach: Reach;
  readonly permissions: readonly string[];
  readonly models: KeyModelsSpec;
  /** Milliseconds since the epoch. Undefined: for ever. */
  readonly expireMs: number | undefined;
}

/** The caller as a grantor. A process of the installation that calls in its own name holds everything. */
export function grantorFrom(principal: Principal | undefined): Grant {
  if (!principal) {
    const models = { all: true, names: [] };
    return { reach: Reach.INSTALLATION, permissions: ["*"], models, expireMs: undefined };
  }
  return {
    reach: principal.reach,
    permissions: principal.permissions,
    models: { all: principal.models?.all ?? false, names: principal.models?.names ?? [] },
    expireMs: principal.expireTime ? timestampMs(principal.expireTime) : undefined,
  };
}

/** What the grant has beyond its grantor, in words; undefined if nothing. Nobody grants more than they hold. */
export function excessOf(grant: Grant, grantor: Grant): string | undefined {
  return (
    excessReach(grant.reach, grantor) ??
    excessPermission(grant.permissions, grantor.permissions) ??
    excessModel(grant.models, grantor.models) ??
    excessTime(grant.expireMs, grantor.expireMs)
  );
}

/** A reach beyond the grantor's, in words; undefined if there is none. */
export function excessReach(reach: Reach, grantor: Grant): string | undefined {
  return width(reach) > width(grantor.reach) ? `reach ${nameOf(reach)}` : undefined;
}

function excessPermission(wanted: readonly string[], held: readonly string[]): string | undefined {
  if (held.includes("*")) return undefined;
  const excess = wanted.find((permission) => !held.includes(permission));
  return excess && `permission ${excess}`;
}

/** A wanted name that ends in `*` is covered by an entry whose own beginning it shares. */
function excessModel(wanted: KeyModelsSpec, held: KeyModelsSpec): string | undefined {
  if (wanted.all) return held.all || held.names.includes("*") ? undefined : "all models";
  const excess = wanted.names.find((name) => !allows(held, name));
  return excess && `model ${excess}`;
}

function excessTime(wantedMs: number | undefined, heldMs: number | undefined): string | undefined {
  if (heldMs === undefined || (wantedMs !== undefined && wantedMs <= heldMs)) return undefined;
  return `use after ${new Date(heldMs).toISOString()}`;
}

/** Not said counts as the narrowest; a reach that this version does not know as wider than all. */
function width(reach: Reach): number {
  const order: readonly Reach[] = [Reach.UNSPECIFIED, Reach.PROJECT, Reach.ORG, Reach.INSTALLATION];
  const place = order.indexOf(reach);
  return place < 0 ? order.length : Math.max(1, place);
}

function nameOf(reach: Reach): string {
  if (reach === Reach.INSTALLATION) return "INSTALLATION";
  return reach === Reach.ORG ? "ORG" : "PROJECT";
}
