import type { Row } from "./edge-row.ts";

const least = { model: "weir-sim", messages: [{ role: "user", content: "hi" }] };

/** Keys that are none, or that may not be where they are. */
export const keyRows: readonly Row[] = [
  { name: "A1 no key", key: null, status: 401, code: "missing_api_key" },
  { name: "A1 Basic", key: null, headers: { authorization: "Basic eDp5" }, status: 401, code: "missing_api_key" },
  { name: "A1 Bearer alone", key: null, headers: { authorization: "Bearer" }, status: 401, code: "missing_api_key" },
  { name: "A1 Bearer a b", key: "a b", status: 401, code: "invalid_api_key" },
  { name: "A1 an unknown key", key: "sk-unknown", status: 401, code: "invalid_api_key" },
  { name: "A4 a revoked key", key: "weir_revoked", status: 401, code: "key_revoked" },
  { name: "A4 an expired key", key: "weir_expired", status: 401, code: "key_expired" },
  {
    name: "a key that cannot be checked",
    key: "weir_unchecked",
    status: 503,
    type: "server_error",
    code: "auth_unavailable",
  },
  {
    name: "A7 a key in the query",
    key: null,
    path: "/v1/chat/completions?api_key=weir_good",
    status: 401,
    code: "missing_api_key",
  },
  {
    name: "A7 a key in a cookie",
    key: null,
    headers: { cookie: "api_key=weir_good" },
    status: 401,
    code: "missing_api_key",
  },
  {
    name: "A7 an unknown x-api-key",
    key: null,
    headers: { "x-api-key": "sk-unknown" },
    status: 401,
    code: "invalid_api_key",
  },
  {
    name: "A7 an unknown api-key",
    key: null,
    headers: { "api-key": "sk-unknown" },
    status: 401,
    code: "invalid_api_key",
  },
  {
    name: "A7 a good key, and one in the query",
    path: "/v1/chat/completions?key=weir_good",
    status: 400,
    code: "ambiguous_auth",
  },
  { name: "A7 two keys", headers: { "x-api-key": "weir_good" }, status: 400, code: "ambiguous_auth" },
].map((row) => ({ body: least, ...row }));
