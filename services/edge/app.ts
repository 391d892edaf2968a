import type { Principal } from "../../gen/ts/weir/auth/v1/principal_pb.ts";
import { WeirError, weirErrorFrom } from "../runtime/errors/fail.ts";
import type { HttpApp } from "../runtime/server/app.ts";
import type { Endpoint } from "../runtime/telemetry/metrics.ts";
import { chatCompletions } from "./chat-completions.ts";
import { completions } from "./completions.ts";
import type { Edge } from "./edge.ts";
import { embeddings } from "./embeddings.ts";
import { Exchange } from "./exchange.ts";
import { generate } from "./generation.ts";
import { getModel, listModels } from "./models.ts";
import { methodNotAllowed } from "./refusal.ts";
import { rerank } from "./rerank.ts";
import { credentialOf, headerOf } from "./request-headers.ts";

type Handler = (edge: Edge, exchange: Exchange, principal: Principal) => void;

interface Served {
  readonly name: Endpoint;
  readonly allow: readonly string[];
  readonly handle: Handler;
}

const post = (name: Endpoint, handle: Handler): Served => ({ name, allow: ["POST"], handle });
const get = (name: Endpoint, handle: Handler): Served => ({ name, allow: ["GET", "HEAD"], handle });

/** Paths are compared as they come: what is spelled in another way is not one of ours. */
const endpoints: ReadonlyMap<string, Served> = new Map([
  [
    "/v1/chat/completions",
    post("chat_completions", (edge, exchange, principal) => generate(edge, chatCompletions, exchange, principal)),
  ],
  [
    "/v1/completions",
    post("completions", (edge, exchange, principal) => generate(edge, completions, exchange, principal)),
  ],
  ["/v1/embeddings", post("embeddings", embeddings)],
  ["/v1/rerank", post("rerank", (edge, exchange, principal) => rerank(edge, exchange, principal, true))],
  ["/rerank", post("rerank", (edge, exchange, principal) => rerank(edge, exchange, principal, true))],
  ["/v2/rerank", post("rerank", (edge, exchange, principal) => rerank(edge, exchange, principal, false))],
  ["/v1/models", get("models", listModels)],
]);

const modelPrefix = "/v1/models/";

/** The OpenAI-style endpoints, for the public port. */
export function createEdgeApp(edge: Edge): HttpApp {
  return {
    handle(request, response) {
      const url = request.url ?? "";
      const mark = url.indexOf("?");
      const path = mark < 0 ? url : url.slice(0, mark);
      const endpoint = endpoints.get(path) ?? modelEndpoint(path);
      if (endpoint === undefined) return false;
      const exchange = new Exchange(edge, endpoint.name, request, response);
      const method = request.method ?? "";
      if (!endpoint.allow.includes(method)) exchange.refuse(methodNotAllowed(method, endpoint.allow.join(", ")));
      else exchange.attempt(() => authenticate(edge, exchange, mark < 0 ? "" : url.slice(mark), endpoint.handle));
      return true;
    },
  };
}

/** The id of a model may hold slashes, as they are or percent-encoded. */
function modelEndpoint(path: string): Served | undefined {
  if (!path.startsWith(modelPrefix) || path.length === modelPrefix.length) return undefined;
  let id: string;
  try {
    id = decodeURIComponent(path.slice(modelPrefix.length));
  } catch {
    // Not the encoding of any text: no path of ours.
    return undefined;
  }
  return get("models", (edge, exchange, principal) => getModel(edge, exchange, principal, id));
}

/** Who calls; a key that is known costs no wait. */
function authenticate(edge: Edge, exchange: Exchange, query: string, next: Handler): void {
  const { request } = exchange;
  const credential = credentialOf(request, query);
  if (credential instanceof WeirError) return exchange.fail(credential);
  const address = edge.clientAddress(request.socket.remoteAddress, headerOf(request, "x-forwarded-for"));
  const judge = (found: Principal | WeirError) => {
    if (found instanceof WeirError) exchange.fail(found);
    else if (!exchange.over) exchange.attempt(() => next(edge, exchange, found));
  };
  const found = edge.identity.authenticate(credential, address);
  if (found instanceof Promise) found.then(judge, (thrown: unknown) => exchange.fail(weirErrorFrom(thrown)));
  else judge(found);
}
