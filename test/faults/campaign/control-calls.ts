/** Calls of the public API's services by a key that may do everything. */
export interface ControlCalls {
  /** Makes a project. */
  createProject(projectId: string): Promise<void>;
  /** Makes a key that may call models. */
  createKey(projectId: string): Promise<{ readonly keyId: string; readonly secret: string }>;
  revokeKey(projectId: string, keyId: string): Promise<void>;
}

/** One that got no answer in this time does not know what became of it. */
const callMs = 10_000;

/** Calls at `url()`, with the key `adminKey`. Each throws unless it was acknowledged. */
export function controlCalls(url: () => string, adminKey: string): ControlCalls {
  const call = async (method: string, body: object): Promise<unknown> => {
    const response = await fetch(`${url()}/weir.auth.v1.${method}`, {
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
      await call("TenantService/CreateProject", { requestId: requestId(), projectId, name: projectId });
    },
    createKey: async (projectId) => {
      const made = (await call("KeyService/CreateKey", { requestId: requestId(), projectId, name: "team" })) as {
        readonly key: { readonly id: string };
        readonly secret: string;
      };
      return { keyId: made.key.id, secret: made.secret };
    },
    revokeKey: async (projectId, keyId) => {
      await call("KeyService/RevokeKey", { projectId, keyId });
    },
  };
}
