import { brotliCompressSync, gzipSync } from "node:zlib";
import type { Row } from "./edge-row.ts";

/** Requests that are refused for how they are sent, each with what it gets. */

const least = { model: "weir-sim", messages: [{ role: "user", content: "hi" }] };
const text = JSON.stringify(least);
const large = JSON.stringify({ ...least, x: "y".repeat(9_000_000) });
const encoded = (encoding: string) => ({ "content-encoding": encoding });

export const httpRows: readonly Row[] = [
  ...["PUT", "DELETE", "PATCH", "OPTIONS"].map(
    (method): Row => ({ name: `H21 ${method}`, method, status: 405, code: "method_not_allowed" }),
  ),
  { name: "H21 GET of a POST path", method: "GET", status: 405, code: "method_not_allowed" },
  { name: "H21 POST of the models", path: "/v1/models", body: {}, status: 405, code: "method_not_allowed" },
  {
    name: "H21 DELETE of a model",
    path: "/v1/models/weir-sim",
    method: "DELETE",
    status: 405,
    code: "method_not_allowed",
  },
  {
    name: "H31 text",
    body: text,
    headers: { "content-type": "text/plain" },
    status: 415,
    code: "unsupported_media_type",
  },
  {
    name: "H31 UTF-16",
    body: text,
    headers: { "content-type": "application/json; charset=utf-16" },
    status: 415,
    code: "unsupported_media_type",
  },
  {
    name: "H31 a form",
    body: text,
    headers: { "content-type": "multipart/form-data; boundary=x" },
    status: 415,
    code: "unsupported_media_type",
  },
  { name: "H30 an unknown encoding", body: text, headers: encoded("zstd"), status: 415, code: "unsupported_encoding" },
  {
    name: "H30 two layers",
    body: gzipSync(gzipSync(text)),
    headers: encoded("gzip, gzip"),
    status: 415,
    code: "unsupported_encoding",
  },
  {
    name: "H30 two layers, one named",
    body: gzipSync(gzipSync(text)),
    headers: encoded("gzip"),
    status: 400,
    code: "invalid_utf8",
  },
  {
    name: "H30 deflate that is none",
    body: "garbage",
    headers: encoded("deflate"),
    status: 415,
    code: "unsupported_encoding",
  },
  {
    name: "H30 gzip that is cut",
    body: gzipSync(text).subarray(0, 20),
    headers: encoded("gzip"),
    status: 415,
    code: "unsupported_encoding",
  },
  {
    name: "H30 a bomb",
    body: gzipSync(Buffer.alloc(100_000_000)),
    headers: encoded("gzip"),
    status: 413,
    code: "request_too_large",
  },
  {
    name: "H30 a bomb by br",
    body: brotliCompressSync(Buffer.alloc(10_000_000)),
    headers: encoded("br"),
    status: 413,
    code: "request_too_large",
  },
  { name: "H32 a body that is too long", body: large, status: 413, code: "request_too_large" },
  { name: "a model that is not there", path: "/v1/models/nobody", method: "GET", status: 404, code: "model_not_found" },
  {
    name: "a model's name of 300 characters",
    path: `/v1/models/${"m".repeat(300)}`,
    method: "GET",
    status: 404,
    code: "model_not_found",
  },
  {
    name: "H20 a model's name with %00",
    path: "/v1/models/a%00b",
    method: "GET",
    status: 404,
    code: "model_not_found",
  },
];
