import type { connectNodeAdapter } from "@connectrpc/connect-node";

type NodeHandler = ReturnType<typeof connectNodeAdapter>;

/** A request as HTTP/1.1 or HTTP/2 brings it. */
export type HttpRequest = Parameters<NodeHandler>[0];

/** The answer to it, with the methods that both versions have in the same form. */
export type HttpResponse = Parameters<NodeHandler>[1];

/** Plain HTTP endpoints of a role on the public port. Its requests have passed the framing rules. */
export interface HttpApp {
  /** Takes the request, or says that its path is not one of its own. */
  handle(request: HttpRequest, response: HttpResponse): boolean;
}
