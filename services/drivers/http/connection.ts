import { Http1Client } from "../http1/client.ts";
import { headText } from "../http1/request.ts";
import { credentialHeader } from "../credential.ts";
import type { Target } from "../driver.ts";

/** The way to one server. */
export interface Connection extends AsyncDisposable {
  readonly http: Http1Client;
  /** Where its versioned paths begin, such as "/v1". */
  readonly apiPath: string;
  /** Where its own paths begin; mostly empty. */
  readonly rootPath: string;
  /** What follows every path below `apiPath`, such as "?api-version=1"; mostly empty. */
  readonly query: string;
  /** The head of a question, without its end. */
  get(path: string): string;
  /** The head of a request to generate, on a path below `apiPath`, up to the fields of its own. */
  post(path: string, accept: string): string;
  /** The same on a path below `rootPath`. */
  postRoot(path: string, accept?: string): string;
}

/**
 * Opens the way to a target. Connections are made when they are needed.
 *
 * @param own fields of every request; by default those that carry the target's key as OpenAI's servers want it.
 * @param paths where its versioned paths begin and what follows them, where that is not as everywhere.
 */
export function connectionTo(
  target: Target,
  own: Readonly<Record<string, string>> = credentialHeader(target),
  paths: { readonly apiPath?: string; readonly query?: string } = {},
): Connection {
  const url = new URL(target.url);
  const path = url.pathname.replace(/\/+$/, "");
  const versioned = /\/v\d+$/.test(path);
  const { apiPath = versioned ? path : `${path}/v1`, query = "" } = paths;
  const rootPath = versioned ? path.replace(/\/v\d+$/, "") : path;
  const fields = { "accept-encoding": "identity", "user-agent": "weir", ...own };
  const http = new Http1Client(url, target.clock);
  const posts = new Map<string, string>();
  const post = (whole: string, accept: string) => {
    // A few paths, each for a stream and for a whole answer.
    const key = `${whole} ${accept}`;
    const known = posts.get(key);
    if (known !== undefined) return known;
    const all = { ...fields, "content-type": "application/json", accept };
    const head = headText({ method: "POST", path: whole, host: url.host, fields: all });
    posts.set(key, head);
    return head;
  };
  return {
    http,
    apiPath,
    rootPath,
    query,
    get: (asked) => headText({ method: "GET", path: asked, host: url.host, fields }),
    post: (asked, accept) => post(apiPath + asked + query, accept),
    postRoot: (asked, accept = "application/json") => post(rootPath + asked, accept),
    [Symbol.asyncDispose]: () => http[Symbol.asyncDispose](),
  };
}
