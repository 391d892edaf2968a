import { Http1Client } from "../http1/client.ts";
import { headText } from "../http1/request.ts";
import type { Target } from "../driver.ts";

/** The way to one server. */
export interface Connection extends AsyncDisposable {
  readonly http: Http1Client;
  /** Where its OpenAI paths begin, such as "/v1". */
  readonly apiPath: string;
  /** Where its own paths begin; mostly empty. */
  readonly rootPath: string;
  /** The head of a question, without its end. */
  get(path: string): string;
  /** The head of a request to generate, on a path below `apiPath`, up to the fields of its own. */
  post(path: string, accept: string): string;
  /** The same for a question with a JSON answer, on a path of the server's own. */
  postRoot(path: string): string;
}

/** Opens the way to a target. Connections are made when they are needed. */
export function connectionTo(target: Target): Connection {
  const url = new URL(target.url);
  const path = url.pathname.replace(/\/+$/, "");
  const versioned = /\/v\d+$/.test(path);
  const apiPath = versioned ? path : `${path}/v1`;
  const fields: Record<string, string> = { "accept-encoding": "identity", "user-agent": "weir" };
  if (target.engineKey !== undefined) fields["authorization"] = `Bearer ${target.engineKey}`;
  const http = new Http1Client(url, target.clock);
  const posts = new Map<string, string>();
  const rootPath = versioned ? path.replace(/\/v\d+$/, "") : path;
  const postHead = (whole: string, accept: string) => {
    const all = { ...fields, "content-type": "application/json", accept };
    return headText({ method: "POST", path: whole, host: url.host, fields: all });
  };
  return {
    http,
    apiPath,
    rootPath,
    get: (asked) => headText({ method: "GET", path: asked, host: url.host, fields }),
    post(asked, accept) {
      // A few paths, each for a stream and for a whole answer.
      const key = `${asked} ${accept}`;
      const known = posts.get(key);
      if (known !== undefined) return known;
      const head = postHead(apiPath + asked, accept);
      posts.set(key, head);
      return head;
    },
    postRoot: (asked) => postHead(rootPath + asked, "application/json"),
    [Symbol.asyncDispose]: () => http[Symbol.asyncDispose](),
  };
}
