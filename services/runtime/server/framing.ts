import type { IncomingMessage } from "node:http";
import type { Http2ServerRequest } from "node:http2";
import { systemIds } from "../ids.ts";

/** A request that is refused for how it is framed: status and code of the answer, and what to do about it. */
export interface FramingFault {
  readonly status: number;
  readonly code: string;
  readonly message: string;
}

const fault = (status: number, code: string, message: string): FramingFault => ({ status, code, message });

/** OpenAI advises clients to stay below 64 KiB; ours send a dozen headers. */
const headersMax = 100;
const targetBytesMax = 8_192;
const hostForm = /^(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::\d{1,5})?$/;
/** HTAB, printable ASCII, and the obs-text bytes that are not ours to judge are refused: nothing here needs them. */
const plainValue = /^[\t\x20-\x7e]*$/;

/** Headers that must come once: with two, two readers may see two different requests. */
const single = ["host", "content-length", "transfer-encoding", "authorization"] as const;

const twice: ReadonlyMap<number, FramingFault> = new Map([
  [1, fault(400, "bad_framing", "More than one Host header. Send one.")],
  [2, fault(400, "bad_framing", "More than one Content-Length header. Send one.")],
  [4, fault(400, "bad_framing", "More than one Transfer-Encoding header. Send one.")],
  [8, fault(400, "ambiguous_auth", "More than one Authorization header. Send one key, in one header.")],
]);

/** Its bit if the header must come once, else 0. Most names are of another length. */
function singleBit(name: string): number {
  for (let i = 0; i < single.length; i++) {
    const one = single[i];
    if (one?.length === name.length && one === name.toLowerCase()) return 1 << i;
  }
  return 0;
}

/** What HTTP/1 parsing let through that is ours to refuse; undefined when the request is well framed. */
export function framingFault(request: IncomingMessage): FramingFault | undefined {
  const { rawHeaders, httpVersion } = request;
  if (httpVersion !== "1.1" && httpVersion !== "1.0")
    return fault(505, "bad_version", "Only HTTP/1.0 and HTTP/1.1 are spoken here.");
  if (rawHeaders.length > headersMax * 2)
    return fault(431, "headers_too_large", `More than ${headersMax} headers. Send fewer.`);
  return headersFault(rawHeaders) ?? hostFault(request) ?? targetFault(request.url ?? "") ?? bodyFault(request);
}

/** The same of HTTP/2, whose own framing the session has judged. */
export function http2Fault(request: Http2ServerRequest): FramingFault | undefined {
  if (!isHost(request.authority))
    return fault(400, "bad_host", "The :authority is no host name with an optional port.");
  return headersFault(request.rawHeaders) ?? targetFault(request.url);
}

function headersFault(raw: readonly string[]): FramingFault | undefined {
  /** Those that must come once, as bits. */
  let seen = 0;
  let underscored = false;
  for (let i = 0; i < raw.length; i += 2) {
    const name = raw[i] ?? "";
    if (!plainValue.test(raw[i + 1] ?? ""))
      return fault(400, "bad_header", `Header ${printable(name)} has a character that no header may have.`);
    if (name.includes("_")) underscored = true;
    const bit = singleBit(name);
    if ((seen & bit) !== 0) return twice.get(bit);
    seen |= bit;
  }
  return underscored ? underscoreFault(raw) : undefined;
}

function underscoreFault(raw: readonly string[]): FramingFault | undefined {
  const names = new Set(raw.filter((_, index) => index % 2 === 0).map((name) => name.toLowerCase()));
  for (const name of names) {
    if (name.includes("_") && names.has(name.replaceAll("_", "-"))) {
      return fault(400, "ambiguous_header", `Header ${printable(name)} comes with - and with _. Send one of the two.`);
    }
  }
  return undefined;
}

function printable(name: string): string {
  return name
    .toLowerCase()
    .replace(/[^a-z0-9_-]/g, "?")
    .slice(0, 64);
}

function hostFault(request: IncomingMessage): FramingFault | undefined {
  const host = request.headers.host;
  if (host === undefined)
    return request.httpVersion === "1.1" ? fault(400, "bad_host", "The Host header is missing.") : undefined;
  return isHost(host) ? undefined : fault(400, "bad_host", "The Host header is no host name with an optional port.");
}

/** Whether it is a host with an optional port; some have the form and are none, such as 256.1.1.1 or a port of 99999. */
function isHost(host: string | undefined): boolean {
  return host !== undefined && hostForm.test(host) && URL.canParse(`http://${host}`);
}

function targetFault(target: string): FramingFault | undefined {
  if (target.length > targetBytesMax)
    return fault(414, "uri_too_long", `The address is longer than ${targetBytesMax} bytes.`);
  return target.startsWith("/") ? undefined : fault(400, "bad_target", "The request's target must be a path.");
}

function bodyFault(request: IncomingMessage): FramingFault | undefined {
  const encoding = request.headers["transfer-encoding"];
  if (encoding !== undefined && (request.httpVersion === "1.0" || encoding.toLowerCase() !== "chunked")) {
    return fault(400, "bad_framing", "Only chunked transfer encoding, and only with HTTP/1.1.");
  }
  const length = request.headers["content-length"];
  if (length !== undefined && !/^\d{1,15}$/.test(length))
    return fault(400, "bad_framing", "Content-Length is no number of bytes.");
  const hasBody = encoding !== undefined || (length !== undefined && length !== "0");
  const bare = request.method === "GET" || request.method === "HEAD";
  return bare && hasBody ? fault(400, "unexpected_body", `A ${request.method} request has no body.`) : undefined;
}

/** The answer to bytes that Node's parser refuses. */
export function parserFault(error: NodeJS.ErrnoException & { readonly reason?: string }): FramingFault {
  // The parser calls a bare line feed behind the version a wrong version.
  if (error.code === "HPE_INVALID_VERSION" && error.reason?.includes("CRLF")) return malformed;
  switch (error.code) {
    case "HPE_HEADER_OVERFLOW":
      return fault(431, "headers_too_large", "The headers are longer than 16 KiB. Send shorter ones.");
    case "HPE_CHUNK_EXTENSIONS_OVERFLOW":
      return fault(400, "bad_framing", "A chunk extension is too long.");
    case "HPE_INVALID_VERSION":
      return fault(505, "bad_version", "Only HTTP/1.0 and HTTP/1.1 are spoken here.");
    case "ERR_HTTP_REQUEST_TIMEOUT":
      return fault(408, "request_timeout", "The request did not arrive in time.");
    case "HPE_INVALID_EOF_STATE":
      return fault(400, "incomplete_body", "The request ended before it was complete.");
    default:
      return malformed;
  }
}

const malformed = fault(400, "bad_framing", "This is not a well-formed HTTP request.");

/** The whole answer in bytes, for a socket without a response object. */
export function rawAnswer(given: FramingFault): string {
  const body = faultBody(given);
  const lines = Object.entries({ ...faultHeaders(body), connection: "close" }).map(
    ([name, value]) => `${name}: ${value}`,
  );
  const reason = statusTexts[given.status] ?? "Error";
  return `HTTP/1.1 ${given.status} ${reason}\r\n${lines.join("\r\n")}\r\n\r\n${body}`;
}

const statusTexts: Readonly<Record<number, string>> = {
  400: "Bad Request",
  405: "Method Not Allowed",
  408: "Request Timeout",
  414: "URI Too Long",
  417: "Expectation Failed",
  431: "Request Header Fields Too Large",
  503: "Service Unavailable",
  505: "HTTP Version Not Supported",
};

/** The OpenAI-style body of a fault. */
export function faultBody(given: FramingFault): string {
  return JSON.stringify({
    error: { message: given.message, type: "invalid_request_error", param: null, code: given.code },
  });
}

/** Headers of such a body, with an id to quote, as every answer has one. */
export function faultHeaders(body: string): Record<string, string | number> {
  return {
    "x-request-id": systemIds.uuidv7(),
    "content-type": "application/json",
    "content-length": Buffer.byteLength(body),
  };
}
