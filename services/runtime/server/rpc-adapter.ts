import { constants } from "node:http2";
import type { ConnectRouterOptions, ContextValues, ConnectRouter } from "@connectrpc/connect";
import { createConnectRouter } from "@connectrpc/connect";
import {
  compressionBrotli,
  compressionGzip,
  universalRequestFromNodeRequest,
  universalResponseToNodeResponse,
} from "@connectrpc/connect-node";
import type { Clock } from "../clock.ts";
import type { HttpRequest, HttpResponse } from "./app.ts";
import { faultBody, faultHeaders } from "./framing.ts";

/** The longest request message of an RPC that needs no key: a name or two. */
export const openReadMaxBytes = 4_096;

/** What serves RPCs on a listener of Node. */
export interface RpcAdapterOptions extends ConnectRouterOptions {
  readonly routes: (router: ConnectRouter) => void;
  readonly clock: Clock;
  /** How long a request may take to arrive over HTTP/2, in milliseconds; HTTP/1 requests are timed by their server. */
  readonly requestTimeoutMs: number;
  readonly contextValues?: (request: HttpRequest) => ContextValues;
  /** Answers a path that is no method's. */
  readonly fallback: (request: HttpRequest, response: HttpResponse) => void;
}

/**
 * Serves connect-es's routes on node:http and node:http2. Like its own adapter, which writes to the console whenever a
 * caller resets a stream that is being written; here that is the end of the stream, which the gate has heard of already.
 */
export function rpcAdapter(options: RpcAdapterOptions): (request: HttpRequest, response: HttpResponse) => void {
  const acceptCompression = [compressionGzip, compressionBrotli];
  const router = createConnectRouter({ acceptCompression, ...options });
  options.routes(router);
  const handlers = new Map(router.handlers.map((handler) => [handler.requestPath, handler]));
  return (request, response) => {
    const path = request.url?.split("?", 1)[0] ?? "";
    const handler = handlers.get(path);
    if (handler === undefined) {
      options.fallback(request, response);
      return;
    }
    const universal = universalRequest(request, response, options);
    if (universal === undefined) {
      refuse(request, response);
      return;
    }
    closeUnlessComplete(request, options);
    handler(universal)
      .then((answer) => universalResponseToNodeResponse(answer, response))
      .catch(() => {
        // The connection failed under the answer: nobody is left to be told, and the handler has been aborted.
        response.destroy();
      });
  };
}

/** Closes the stream of an HTTP/2 request that is not complete in time. */
function closeUnlessComplete(request: HttpRequest, { clock, requestTimeoutMs }: RpcAdapterOptions): void {
  // A request without a body is complete, and nobody reads it to its end.
  if (!("stream" in request) || request.stream.endAfterHeaders) return;
  const { stream } = request;
  const timer = clock.setTimer(requestTimeoutMs, () => stream.close(constants.NGHTTP2_CANCEL));
  const cancel = () => timer.cancel();
  request.once("end", cancel);
  request.once("close", cancel);
}

/** The request as connect-es takes it; undefined where it throws, as its URL cannot be built. */
function universalRequest(request: HttpRequest, response: HttpResponse, options: RpcAdapterOptions) {
  try {
    return universalRequestFromNodeRequest(request, response, undefined, options.contextValues?.(request));
  } catch {
    // Thrown on, it would end the process: no listener of Node catches it.
    return undefined;
  }
}

function refuse(request: HttpRequest, response: HttpResponse): void {
  const message = "The request names no host, or one that is no host name with an optional port.";
  const body = faultBody({ status: 400, code: "bad_host", message });
  request.resume();
  response.writeHead(400, faultHeaders(body));
  response.end(body);
}
