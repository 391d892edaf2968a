import { GatedMember, type Pool } from "../../gen/ts/weir/catalog/v1/pool_pb.ts";
import type { GenerateRequest } from "../../gen/ts/weir/router/v1/inference_service_pb.ts";
import type { WeirError } from "../runtime/errors/fail.ts";
import { parseObject, refuse, refusedInside, unknownMember, walk } from "./refused-members.ts";

/** Holds what the messages carry against the pool's rules: extras, unknown parts, addresses that an engine fetches. */
export function checkMessages(request: GenerateRequest, pool: Pool): WeirError | undefined {
  if (request.input.case !== "conversation") return undefined;
  const urlsAllowed = pool.allowedMembers.includes(GatedMember.MEDIA_URLS);
  for (const [m, message] of request.input.value.messages.entries()) {
    if (message.extrasJson !== "") {
      const problem = checkMessageExtras(message.extrasJson, `messages[${m}]`, urlsAllowed);
      if (problem) return problem;
    }
    for (let p = 0; p < message.parts.length; p++) {
      const part = message.parts[p]?.part;
      if (part === undefined || part.case === "text") continue;
      const path = `messages[${m}].content[${p}]`;
      let problem: WeirError | undefined;
      if (part.case === "image") problem = checkAddress(part.value.url, `${path}.image_url.url`, urlsAllowed);
      else if (part.case === "file") problem = checkAddress(part.value.dataUrl, `${path}.file.file_data`, false);
      else if (part.case === "unknownJson") problem = checkUnknownPart(part.value, path, urlsAllowed);
      if (problem) return problem;
    }
  }
  return undefined;
}

function checkMessageExtras(json: string, path: string, urlsAllowed: boolean): WeirError | undefined {
  const parsed = parseObject(json);
  if (!parsed) return refuse(`${path}.extras_json`, "invalid_type", "is no JSON object");
  const refused = refusedInside(parsed, path);
  return refused === undefined ? checkAddresses(parsed, path, urlsAllowed) : unknownMember(refused);
}

function checkUnknownPart(json: string, path: string, urlsAllowed: boolean): WeirError | undefined {
  const parsed = parseObject(json);
  if (!parsed) return refuse(path, "invalid_type", "is no JSON object");
  const { type } = parsed;
  // Embeddings reach the model behind its vocabulary, and engines unpack them as they come.
  if (typeof type !== "string" || type.endsWith("_embeds")) {
    return refuse(`${path}.type`, "invalid_value", "is no kind of part that may be sent");
  }
  const refused = refusedInside(parsed, path);
  return refused === undefined ? checkAddresses(parsed, path, urlsAllowed) : unknownMember(refused);
}

/** Every text under a key that names an address, at any depth. */
function checkAddresses(value: unknown, path: string, urlsAllowed: boolean): WeirError | undefined {
  let problem: WeirError | undefined;
  walk(value, path, (key, member, at) => {
    if (typeof member === "string" && /ur[il]$/i.test(key)) problem = checkAddress(member, at, urlsAllowed);
    return problem !== undefined;
  });
  return problem;
}

function checkAddress(url: string, path: string, urlsAllowed: boolean): WeirError | undefined {
  if (url === "" || /^data:/i.test(url)) return undefined;
  if (urlsAllowed && /^https?:\/\//i.test(url)) return undefined;
  const problem = urlsAllowed
    ? "is no http, https or data: address"
    : "is an address that an engine would fetch; send the bytes as a data: URL";
  return refuse(path, "url_not_allowed", problem);
}
