import { expect } from "vitest";
import { type EdgeServer, keys } from "../fakes/edge-server.ts";

/** One request that is refused, and what it gets. */
export interface Row {
  readonly name: string;
  /** An object is sent as JSON. */
  readonly body?: object | string | Buffer;
  readonly path?: string;
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** Undefined: a good one. */
  readonly key?: string | null;
  readonly status: number;
  readonly type?: string;
  readonly code: string | null;
  readonly param?: string | null;
}

/** A name, a body, and code and param of the 400 that it gets. */
export type Case = readonly [name: string, body: object, code: string, param: string | null];

/** The row of a case at an endpoint. */
export const rowFrom =
  (path: string) =>
  ([name, body, code, param]: Case): Row => ({ name, body, path, status: 400, code, param });

const requestIdForm = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;

type Sent = Pick<Row, "body" | "path" | "method" | "headers" | "key">;

export function send(url: string, row: Sent): Promise<Response> {
  return fetch(url + (row.path ?? "/v1/chat/completions"), initOf(row));
}

function initOf({ body, key = keys.good, method = "POST", headers }: Sent) {
  const text = body === undefined || typeof body === "string" || Buffer.isBuffer(body) ? body : JSON.stringify(body);
  return {
    method,
    headers: {
      ...(key === null ? {} : { authorization: `Bearer ${key}` }),
      "content-type": "application/json",
      ...headers,
    },
    ...(text === undefined ? {} : { body: new Uint8Array(Buffer.from(text)) }),
  };
}

/** What holds for every refusal: its status and body, an id to quote, within a second, and no engine was asked. */
export async function expectRefused(edge: EdgeServer, row: Row): Promise<void> {
  const calls = edge.calls.length;
  const logged = edge.logged.length;
  await expectAnswer(edge.url, row);
  expect(edge.calls.length).toBe(calls);
  expect(edge.logged.length).toBe(logged);
}

/** A machine that is busy with other tests sends as much in a millisecond. */
const bytesPerMs = 10_000;

/** Sends the row and holds the answer against it. Returns the answer's body. */
export async function expectAnswer(url: string, row: Row): Promise<string> {
  const init = initOf(row);
  const startMs = performance.now();
  const response = await fetch(url + (row.path ?? "/v1/chat/completions"), init);
  const text = await response.text();
  const sendingMs = (init.body?.length ?? 0) / bytesPerMs;
  expect(performance.now() - startMs).toBeLessThan(1_000 + sendingMs);
  expectError(response.status, response.headers, text, row);
  return text;
}

/** Holds an answer against what its row says, and against what holds for all. */
export function expectError(
  status: number,
  headers: { get(name: string): string | null | undefined },
  text: string,
  row: Omit<Row, "name">,
): void {
  const { error } = JSON.parse(text) as { error: Record<string, unknown> };
  expect({ status, code: error["code"], param: error["param"], type: error["type"] }).toEqual({
    status: row.status,
    code: row.code,
    param: row.param ?? null,
    type: row.type ?? "invalid_request_error",
  });
  expect(Object.keys(error).sort()).toEqual(["code", "message", "param", "type"]);
  expect(String(error["message"]).length).toBeGreaterThan(10);
  expect(headers.get("content-type")).toBe("application/json");
  expect(headers.get("x-request-id")).toMatch(requestIdForm);
}

/** The process serves on as if nothing had been. */
export async function expectAlive(edge: EdgeServer): Promise<void> {
  const response = await send(edge.url, { body: { model: "weir-sim", messages: [{ role: "user", content: "hi" }] } });
  expect(response.status).toBe(200);
}
