/** The part of a request's head that is the same for all requests on one path. */
export interface RequestHead {
  readonly method: "GET" | "POST";
  readonly path: string;
  /** Host and port, as the URL writes them. */
  readonly host: string;
  readonly fields: Readonly<Record<string, string>>;
}

const pathForm = /^\/[\x21-\x7e]*$/;
const nameForm = /^[a-z0-9-]+$/;
/** A field's value; a line feed in it would begin a field of its own. */
const valueForm = /^[\t\x20-\x7e\x80-\xff]*$/;

/**
 * Writes the head once, up to where the fields of a single request follow.
 *
 * @throws a RangeError for what would change the head's form: a line feed in a key, say.
 */
export function headText({ method, path, host, fields }: RequestHead): string {
  if (!pathForm.test(path) || !valueForm.test(host)) throw new RangeError("an address that no request can have");
  let text = `${method} ${path} HTTP/1.1\r\nhost: ${host}\r\nconnection: keep-alive\r\n`;
  for (const [name, value] of Object.entries(fields)) {
    if (!nameForm.test(name) || !valueForm.test(value))
      throw new RangeError(`a value of ${name} that no field can have`);
    text += `${name}: ${value}\r\n`;
  }
  return text;
}

/** A whole request without a body. */
export function bareRequest(head: string): string {
  return `${head}\r\n`;
}

/**
 * A whole request with a body.
 *
 * @param id of the request, in characters that a field may have.
 */
export function requestWithBody(head: string, id: string, body: string): string {
  return `${head}x-request-id: ${id}\r\ncontent-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`;
}
