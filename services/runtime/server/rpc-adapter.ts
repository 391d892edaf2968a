import type { ConnectRouterOptions, ContextValues, ConnectRouter } from "@connectrpc/connect";
import { createConnectRouter } from "@connectrpc/connect";
import {
  compressionBrotli,
  compressionGzip,
  universalRequestFromNodeRequest,
  universalResponseToNodeResponse,
} from "@connectrpc/connect-node";
import type { HttpRequest, HttpResponse } from "./app.ts";

/** What serves RPCs on a listener of Node. */
export interface RpcAdapterOptions extends ConnectRouterOptions {
  readonly routes: (router: ConnectRouter) => void;
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
    const universal = universalRequestFromNodeRequest(request, response, undefined, options.contextValues?.(request));
    handler(universal)
      .then((answer) => universalResponseToNodeResponse(answer, response))
      .catch(() => {
        // The connection failed under the answer: nobody is left to be told, and the handler has been aborted.
        response.destroy();
      });
  };
}
