import { create, fromJson, type JsonValue, type MessageInitShape, toJson } from "@bufbuild/protobuf";
import { CreateKeyResponseSchema } from "../../gen/ts/weir/auth/v1/key_service_pb.ts";
import { type LimitSpecSchema, type LimitStatus, SubjectKind } from "../../gen/ts/weir/quota/v1/limit_pb.ts";
import {
  CreateLimitRequestSchema,
  CreateLimitResponseSchema,
  GetLimitStatusResponseSchema,
} from "../../gen/ts/weir/quota/v1/limit_service_pb.ts";
import type { Installation } from "./installation.ts";

/** A key of its own for a test, and the limit on it. */
export interface LimitedKey {
  readonly secret: string;
  readonly keyId: string;
  readonly limitId: string;
}

/** What a limit on a key says, beside its name and subject. */
export type KeyLimitSpec = Omit<MessageInitShape<typeof LimitSpecSchema>, "name" | "subject" | "$typeName">;

/** What a caller was told. */
export interface Told {
  readonly status: number;
  readonly headers: Headers;
  readonly body: { readonly error?: { readonly type: string; readonly code: string; readonly message: string } };
}

type Controlled = Pick<Installation, "control" | "key">;

/** Calls a method of the control plane as its first admin, in JSON. */
async function callControl({ control, key }: Controlled, method: string, body: JsonValue): Promise<JsonValue> {
  const response = await fetch(`${control.url}/${method}`, {
    method: "POST",
    headers: { authorization: `Bearer ${key}`, "content-type": "application/json" },
    body: JSON.stringify(body),
  });
  const text = await response.text();
  if (!response.ok) throw new Error(text);
  return JSON.parse(text);
}

/** Makes a key with one limit on it. */
export async function limitedKey(weir: Controlled, spec: KeyLimitSpec): Promise<LimitedKey> {
  const made = await callControl(weir, "weir.auth.v1.KeyService/CreateKey", {
    requestId: crypto.randomUUID(),
    name: "limited",
  });
  const { key, secret } = fromJson(CreateKeyResponseSchema, made);
  const keyId = key?.id ?? "";
  return { secret, keyId, limitId: await limitKey(weir, keyId, spec) };
}

/** Puts a limit on a key. Returns its id. */
export async function limitKey(weir: Controlled, keyId: string, spec: KeyLimitSpec): Promise<string> {
  const subject = { kind: SubjectKind.KEY, id: keyId };
  const request = create(CreateLimitRequestSchema, {
    requestId: crypto.randomUUID(),
    spec: { name: "of the key", subject, ...spec } as MessageInitShape<typeof LimitSpecSchema>,
  });
  const made = await callControl(
    weir,
    "weir.quota.v1.LimitService/CreateLimit",
    toJson(CreateLimitRequestSchema, request),
  );
  return fromJson(CreateLimitResponseSchema, made).limit?.id ?? "";
}

/** How full a key's limit is. */
export async function limitStatus(
  weir: Controlled,
  { keyId, limitId }: Pick<LimitedKey, "keyId" | "limitId">,
): Promise<LimitStatus> {
  const told = await callControl(weir, "weir.quota.v1.LimitService/GetLimitStatus", { keyId });
  const { limits } = fromJson(GetLimitStatusResponseSchema, told);
  const found = limits.find(({ limit }) => limit?.id === limitId);
  if (found === undefined) throw new Error(`nothing is told of ${limitId}`);
  return found;
}

/** Asks a gateway for a short answer. */
export async function askGateway(url: string, secret: string, body: object): Promise<Told> {
  const response = await fetch(`${url}/v1/chat/completions`, {
    method: "POST",
    headers: { authorization: `Bearer ${secret}`, "content-type": "application/json" },
    body: JSON.stringify({ messages: [{ role: "user", content: "Hello." }], max_tokens: 4, ...body }),
  });
  return { status: response.status, headers: response.headers, body: JSON.parse(await response.text()) };
}

/** Sends so many at once. */
export const together = <T>(count: number, run: (index: number) => Promise<T>): Promise<T[]> =>
  Promise.all(Array.from({ length: count }, (_, index) => run(index)));

/** How many were answered. */
export const granted = (all: readonly Told[]): number => all.filter(({ status }) => status === 200).length;

/** Waits until what is asked for is so. */
export async function become(what: string, holds: () => Promise<boolean>, patienceMs = 20_000): Promise<void> {
  const endMs = performance.now() + patienceMs;
  while (!(await holds())) {
    if (performance.now() > endMs) throw new Error(`not so within ${patienceMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}
