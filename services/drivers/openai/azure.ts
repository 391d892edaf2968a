import { credentialHeader } from "../credential.ts";
import type { Target } from "../driver.ts";
import { type Connection, connectionTo } from "../http/connection.ts";

/** Where an address does not say: the oldest that knows all that is sent. */
const versionDefault = "2024-10-21";

const deploymentForm = /^(.*\/openai)\/deployments\/([^/]+)$/;

/** A model as Azure serves it: at an address of its own, by the name that the operator gave it. */
export interface Deployment {
  readonly name: string;
  /** Where the service lists its models: those that there are, not those that are deployed. */
  readonly modelsPath: string;
}

/** The deployment that a connection is for; undefined: it is no Azure's. */
export function deploymentOf({ apiPath, query }: Connection): Deployment | undefined {
  const [, root, name] = deploymentForm.exec(apiPath) ?? [];
  if (root === undefined || name === undefined) return undefined;
  return { name: decodeURIComponent(name), modelsPath: `${root}/models${query}` };
}

/** Opens the way to a server that speaks OpenAI's HTTP, or to a deployment of Azure's, which is known by its address. */
export function openaiConnection(target: Target): Connection {
  const { pathname, search } = new URL(target.url);
  if (!deploymentForm.test(pathname)) return connectionTo(target);
  const fields = credentialHeader(target, (key) => ({ "api-key": key }));
  const query = search === "" ? `?api-version=${versionDefault}` : search;
  return connectionTo(target, fields, { apiPath: pathname, query });
}
