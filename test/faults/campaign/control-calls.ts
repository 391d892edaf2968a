import type { JsonObject } from "@bufbuild/protobuf";

/** What a limit says of itself, in its unit. */
export interface Standing {
  readonly used: number;
  readonly reserved: number;
  readonly leased: number;
  readonly remaining: number;
}

/** Calls of the public API's services by a key that may do everything. */
export interface ControlCalls {
  /** Makes a project. */
  createProject(projectId: string): Promise<void>;
  /** Makes a key that may call models. */
  createKey(projectId: string): Promise<{ readonly keyId: string; readonly secret: string }>;
  revokeKey(projectId: string, keyId: string): Promise<void>;
  /** Makes a limit by its spec, in the contract's JSON. Returns its id. */
  createLimit(spec: JsonObject): Promise<string>;
  /** How the limits that count a key stand, by their ids. */
  standings(projectId: string, keyId: string): Promise<ReadonlyMap<string, Standing>>;
}

/** One that got no answer in this time does not know what became of it. */
const callMs = 10_000;

/** Calls at `url()`, with the key `adminKey`. Each throws unless it was acknowledged. */
export function controlCalls(url: () => string, adminKey: string): ControlCalls {
  const call = async (method: string, body: object): Promise<unknown> => {
    const response = await fetch(`${url()}/weir.${method}`, {
      method: "POST",
      headers: { authorization: `Bearer ${adminKey}`, "content-type": "application/json" },
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(callMs),
    });
    const text = await response.text();
    if (!response.ok) throw new Error(`${method}: ${response.status} ${text}`);
    return JSON.parse(text);
  };
  const requestId = () => crypto.randomUUID();
  return {
    createProject: async (projectId) => {
      await call("auth.v1.TenantService/CreateProject", { requestId: requestId(), projectId, name: projectId });
    },
    createKey: async (projectId) => {
      const made = (await call("auth.v1.KeyService/CreateKey", {
        requestId: requestId(),
        projectId,
        name: "team",
      })) as {
        readonly key: { readonly id: string };
        readonly secret: string;
      };
      return { keyId: made.key.id, secret: made.secret };
    },
    revokeKey: async (projectId, keyId) => {
      await call("auth.v1.KeyService/RevokeKey", { projectId, keyId });
    },
    createLimit: async (spec) => {
      const made = await call("quota.v1.LimitService/CreateLimit", { requestId: requestId(), spec });
      return (made as { readonly limit: { readonly id: string } }).limit.id;
    },
    standings: async (projectId, keyId) => {
      const told = await call("quota.v1.LimitService/GetLimitStatus", { projectId, keyId });
      return new Map(((told as StatusAnswer).limits ?? []).map(({ limit, ...sums }) => [limit.id, standingOf(sums)]));
    },
  };
}

type Sums = Readonly<Partial<Record<keyof Standing, string>>>;

interface StatusAnswer {
  readonly limits?: readonly (Sums & { readonly limit: { readonly id: string } })[];
}

/** What is 0 is left out of the contract's JSON. */
function standingOf({ used = "0", reserved = "0", leased = "0", remaining = "0" }: Sums): Standing {
  return { used: Number(used), reserved: Number(reserved), leased: Number(leased), remaining: Number(remaining) };
}
