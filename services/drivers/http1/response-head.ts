/** The head of a response, as far as a client must understand it. */
export class ResponseHead {
  readonly status: number;
  contentType = "";
  contentEncoding = "";
  /** Bytes of the body; undefined: it is chunked, or ends with the connection. */
  length: number | undefined;
  chunked = false;
  /** How long the connection may be idle afterwards and still be used, in milliseconds; 0: it ends with this response. */
  keepMs: number;
  readonly #fields: string;

  constructor(status: number, keepMs: number, fields: string) {
    this.status = status;
    this.keepMs = keepMs;
    this.#fields = fields;
  }

  /** The first field of a name in lower case; undefined: there is none. For fields that are seldom asked for. */
  field(name: string): string | undefined {
    for (const line of this.#fields.split("\r\n")) {
      const colon = line.indexOf(":");
      if (colon > 0 && line.slice(0, colon).toLowerCase() === name) return line.slice(colon + 1).trim();
    }
    return undefined;
  }
}

/** Bytes that are no HTTP/1.1 response, or one that two readers could read in two ways. */
export class NotHttp extends Error {}

/** A status line and fields, each with its CRLF: names are tokens, no field goes on in a second line, no byte controls. */
const headForm =
  /^HTTP\/1\.[01] [1-5]\d\d(?: [\t\x20-\x7e\x80-\xff]*)?\r\n(?:[!#$%&'*+\-.^`|~\w]+:[\t\x20-\x7e\x80-\xff]*\r\n)*$/;

const statusAt = "HTTP/1.1 ".length;

/**
 * Reads a head, from its status line to the CRLF of its last field, of bytes as latin1.
 *
 * @param keepMsMax how long a connection is kept where the server does not say.
 * @throws NotHttp
 */
export function readHead(text: string, keepMsMax: number): ResponseHead {
  if (!headForm.test(text)) throw new NotHttp("a head that is not well formed");
  const fieldsAt = text.indexOf("\n") + 1;
  const isOld = text.charCodeAt(statusAt - 2) === 0x30;
  const status = Number(text.slice(statusAt, statusAt + 3));
  const head = new ResponseHead(status, isOld ? 0 : keepMsMax, text.slice(fieldsAt));
  for (let at = fieldsAt; at < text.length; ) {
    const colon = text.indexOf(":", at);
    const end = text.indexOf("\r", colon);
    // Most fields are nobody's business: only those of the right length are looked at.
    switch (colon - at) {
      case 10: // connection, keep-alive
      case 12: // content-type
      case 14: // content-length
      case 16: // content-encoding
      case 17: // transfer-encoding
        take(head, text.slice(at, colon).toLowerCase(), text.slice(colon + 1, end).trim(), keepMsMax);
    }
    at = end + 2;
  }
  if (head.chunked && head.length !== undefined) throw new NotHttp("a length beside chunks");
  if (hasNoBody(status)) {
    head.chunked = false;
    head.length = 0;
  }
  // What ends with its connection leaves none to keep.
  if (!head.chunked && head.length === undefined) head.keepMs = 0;
  return head;
}

function take(head: ResponseHead, name: string, value: string, keepMsMax: number): void {
  switch (name) {
    case "content-type":
      head.contentType = value;
      break;
    case "content-encoding":
      head.contentEncoding = value;
      break;
    case "content-length":
      if (!/^\d{1,15}$/.test(value) || head.length !== undefined) throw new NotHttp("a length that is no number");
      head.length = Number(value);
      break;
    case "transfer-encoding":
      if (value.toLowerCase() !== "chunked" || head.chunked) throw new NotHttp("an encoding that was not asked for");
      head.chunked = true;
      break;
    case "connection":
      if (/\bclose\b/i.test(value)) head.keepMs = 0;
      else if (head.keepMs === 0 && /\bkeep-alive\b/i.test(value)) head.keepMs = keepMsMax;
      break;
    case "keep-alive":
      head.keepMs = Math.min(head.keepMs, keepMsFrom(value, keepMsMax));
  }
}

/** Whoever closes first wins: we do, this long before the server says that it will. */
const keepMarginMs = 1_000;

function keepMsFrom(value: string, keepMsMax: number): number {
  const seconds = /\btimeout=(\d{1,9})\b/i.exec(value)?.[1];
  return seconds === undefined ? keepMsMax : Math.max(0, Number(seconds) * 1_000 - keepMarginMs);
}

function hasNoBody(status: number): boolean {
  return status === 204 || status === 304 || status < 200;
}
