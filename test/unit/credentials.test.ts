import { expect, test } from "vitest";
import { errorRow } from "../../services/runtime/errors/table.ts";
import type { WeirError } from "../../services/runtime/errors/fail.ts";
import { credentialFrom } from "../../services/runtime/identity/credentials.ts";

type Case = readonly [
  what: string,
  headers: Record<string, string>,
  queryHasKey: boolean,
  answer: string | [number, string],
];

const missing: [number, string] = [401, "missing_api_key"];
const invalid: [number, string] = [401, "invalid_api_key"];
const ambiguous: [number, string] = [400, "ambiguous_auth"];

const cases: readonly Case[] = [
  ["no header", {}, false, missing],
  ["an empty header", { authorization: "" }, false, missing],
  ["Basic", { authorization: "Basic dTpw" }, false, missing],
  ["Bearer alone", { authorization: "Bearer" }, false, missing],
  ["Bearer and a space", { authorization: "Bearer " }, false, missing],
  ["Bearer with two words", { authorization: "Bearer a b" }, false, invalid],
  ["Bearer without a space", { authorization: "Bearera" }, false, missing],
  ["no scheme", { authorization: "a" }, false, missing],
  ["Bearer", { authorization: "Bearer a" }, false, "a"],
  ["bearer", { authorization: "bearer a" }, false, "a"],
  ["BEARER", { authorization: "BEARER a" }, false, "a"],
  ["Bearer and many spaces", { authorization: "  Bearer    a  " }, false, "a"],
  ["x-api-key", { "x-api-key": "a" }, false, "a"],
  ["api-key", { "api-key": " a " }, false, "a"],
  ["a cookie", { cookie: "api_key=a" }, false, missing],
  ["the query string", {}, true, missing],
  ["the query string and a header", { authorization: "Bearer a" }, true, ambiguous],
  ["two carriers", { authorization: "Bearer a", "x-api-key": "b" }, false, ambiguous],
  ["two carriers of the same", { "api-key": "a", "x-api-key": "a" }, false, ambiguous],
  ["one header twice", { authorization: "Bearer a, Bearer b" }, false, ambiguous],
  ["one header twice, of another name", { "x-api-key": "a, b" }, false, ambiguous],
  ["an empty second carrier", { authorization: "Bearer a", "x-api-key": "" }, false, "a"],
];

/** A credential, or the status and code that refuse it. */
function told(answer: string | WeirError): string | [number, string | null] {
  if (typeof answer === "string") return answer;
  const { http, openaiCode } = errorRow(answer.reason);
  return [http, openaiCode];
}

test.each(cases)("%s", (_what, headers, queryHasKey, answer) => {
  expect(told(credentialFrom({ get: (name) => headers[name] }, queryHasKey))).toEqual(answer);
});
