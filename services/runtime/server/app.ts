import type { IncomingMessage, ServerResponse } from "node:http";
import type { Http2ServerRequest, Http2ServerResponse } from "node:http2";

/** A request as HTTP/1.1 or HTTP/2 brings it. */
export type HttpRequest = IncomingMessage | Http2ServerRequest;

/** The answer to it. */
export type HttpResponse = ServerResponse | Http2ServerResponse;

/** Plain HTTP endpoints of a role on the public port. Its requests have passed the framing rules. */
export interface HttpApp {
  /** Takes the request, or says that its path is not one of its own. */
  handle(request: HttpRequest, response: HttpResponse): boolean;
}
