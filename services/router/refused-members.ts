import { ErrorReason } from "../../gen/ts/weir/error/v1/error_pb.ts";
import { fail, type WeirError } from "../runtime/errors/fail.ts";

/** They steer the engine, reach its memory or name a host: nobody may set them, at any depth. */
export const refusedAnywhere: ReadonlySet<string> = new Set([
  "__proto__",
  "api_base",
  "api_key",
  "base_url",
  "chat_template",
  "extra_body",
  "kv_transfer_params",
  "lora_request",
  "mm_hashes",
  "prompt_embeds",
  "user_config",
]);

/** The path, from the value's own on, of the first member, at any depth, that nobody may set. */
export function refusedInside(value: unknown, path: string): string | undefined {
  let found: string | undefined;
  walk(value, path, (key, _member, at) => {
    if (refusedAnywhere.has(key)) found = at;
    return found !== undefined;
  });
  return found;
}

/** Visits every member of every object inside, until `visit` says stop. Without recursion: depth is the caller's choice. */
export function walk(
  root: unknown,
  rootPath: string,
  visit: (key: string, member: unknown, path: string) => boolean,
): void {
  const open: { readonly value: unknown; readonly path: string }[] = [{ value: root, path: rootPath }];
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    const { value, path } = next;
    if (typeof value !== "object" || value === null) continue;
    if (Array.isArray(value)) {
      const items: readonly unknown[] = value;
      items.forEach((item, index) => {
        if (typeof item === "object") open.push({ value: item, path: `${path}[${index}]` });
      });
      continue;
    }
    for (const [key, member] of Object.entries(value)) {
      const at = path ? `${path}.${key}` : key;
      if (visit(key, member, at)) return;
      if (typeof member === "object") open.push({ value: member, path: at });
    }
  }
}

/** The object that a JSON text holds; undefined if it holds none. */
export function parseObject(json: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(json);
    return isObject(value) ? value : undefined;
  } catch {
    // The caller is told that it is no JSON object; where the parser stumbled adds nothing.
    return undefined;
  }
}

/** Whether a parsed value is an object with members. */
export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** A member that may not be set. */
export function unknownMember(param: string, problem = "is not a parameter that may be set"): WeirError {
  return refuse(param, "unknown_parameter", problem);
}

/** A member that is wrong. */
export function refuse(param: string, code: string, problem: string): WeirError {
  return fail(ErrorReason.INVALID_ARGUMENT, { param: param.slice(0, 256), code, problem });
}
