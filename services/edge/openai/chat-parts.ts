import type { Part } from "../../../gen/ts/weir/router/v1/message_pb.ts";
import type { JsonObject, JsonValue } from "../json/parse.ts";
import { type Draft, ignoreUnknown } from "./draft.ts";
import { expectArray, expectObject, expectOneOf, expectString, optional, required, wrongType } from "./expect.ts";
import { invalid } from "./invalid.ts";

/** The types of content parts that a role may use. */
export const textOnly: ReadonlySet<string> = new Set(["text"]);
export const userParts: ReadonlySet<string> = new Set([
  "text",
  "image_url",
  "input_audio",
  "file",
  "video_url",
  "audio_url",
]);
export const assistantParts: ReadonlySet<string> = new Set(["text", "refusal"]);

/** What each type's parts have; a part of another type goes to the engine as it is. */
const partMembers: ReadonlyMap<string, ReadonlySet<string>> = new Map(
  ["text", "refusal", "image_url", "input_audio", "file"].map((type) => [
    type,
    new Set(["type", "prompt_cache_breakpoint", type]),
  ]),
);
const imageMembers: ReadonlySet<string> = new Set(["url", "detail"]);
const audioMembers: ReadonlySet<string> = new Set(["data", "format"]);
const fileMembers: ReadonlySet<string> = new Set(["file_data", "file_id", "filename"]);

const partsMax = 4_096;
const textLengthMax = 8_388_608;
const refusalLengthMax = 1_048_576;

/** Content of a message: a string, or parts of the allowed types. */
export function partsFromContent(
  content: JsonValue,
  param: string,
  allowed: ReadonlySet<string>,
  draft: Draft,
): Part[] {
  if (typeof content === "string") return [textPart(content)];
  if (!Array.isArray(content)) throw wrongType(content, param, "a string or an array of parts");
  const parts = expectArray(content, param, partsMax);
  if (parts.length === 0) throw invalid(param, "invalid_value", "must have a part");
  return parts.map((part, i) => partFrom(expectObject(part, `${param}[${i}]`), `${param}[${i}]`, allowed, draft));
}

function textPart(value: string): Part {
  return { $typeName: "weir.router.v1.Part", part: { case: "text", value } };
}

export function refusalPart(value: string): Part {
  return { $typeName: "weir.router.v1.Part", part: { case: "refusal", value } };
}

function partFrom(part: JsonObject, param: string, allowed: ReadonlySet<string>, draft: Draft): Part {
  const type = expectString(required(part, "type", `${param}.type`), `${param}.type`, 64);
  if (!allowed.has(type)) throw invalid(`${param}.type`, "invalid_value", `must be one of ${[...allowed].join(", ")}`);
  // A hint about where a cached prefix ends: engines find that themselves.
  if ("prompt_cache_breakpoint" in part) draft.ignored.add("prompt_cache_breakpoint");
  const known = partMembers.get(type);
  if (known) ignoreUnknown(part, param, known, draft);
  switch (type) {
    case "text":
      return textPart(expectString(required(part, "text", `${param}.text`), `${param}.text`, textLengthMax));
    case "refusal":
      return refusalPart(
        expectString(required(part, "refusal", `${param}.refusal`), `${param}.refusal`, refusalLengthMax),
      );
    case "image_url":
      return imagePart(expectObject(part["image_url"], `${param}.image_url`), `${param}.image_url`, draft);
    case "input_audio":
      return audioPart(expectObject(part["input_audio"], `${param}.input_audio`), `${param}.input_audio`, draft);
    case "file":
      return filePart(expectObject(part["file"], `${param}.file`), `${param}.file`, draft);
    default:
      return unknownPart(part, type, param);
  }
}

function imagePart(image: JsonObject, param: string, draft: Draft): Part {
  ignoreUnknown(image, param, imageMembers, draft);
  const url = mediaUrl(required(image, "url", `${param}.url`), `${param}.url`);
  const detail = expectOneOf(optional(image, "detail") ?? "auto", `${param}.detail`, [
    "auto",
    "low",
    "high",
    "original",
  ]);
  return {
    $typeName: "weir.router.v1.Part",
    part: { case: "image", value: { $typeName: "weir.router.v1.Image", url, detail } },
  };
}

function audioPart(audio: JsonObject, param: string, draft: Draft): Part {
  ignoreUnknown(audio, param, audioMembers, draft);
  const dataBase64 = expectString(required(audio, "data", `${param}.data`), `${param}.data`, textLengthMax, 1);
  const format = expectOneOf(required(audio, "format", `${param}.format`), `${param}.format`, ["wav", "mp3"]);
  return {
    $typeName: "weir.router.v1.Part",
    part: { case: "audio", value: { $typeName: "weir.router.v1.Audio", dataBase64, format } },
  };
}

function filePart(file: JsonObject, param: string, draft: Draft): Part {
  ignoreUnknown(file, param, fileMembers, draft);
  const bytes = optional(file, "file_data");
  const id = optional(file, "file_id");
  const name = optional(file, "filename");
  if (bytes === undefined && id === undefined) {
    throw invalid(param, "missing_required_parameter", "must have `file_data` or `file_id`");
  }
  const data = bytes === undefined ? "" : expectString(bytes, `${param}.file_data`, textLengthMax, 1);
  return {
    $typeName: "weir.router.v1.Part",
    part: {
      case: "file",
      value: {
        $typeName: "weir.router.v1.File",
        // Bare base64 says nothing of what it holds.
        dataUrl: data === "" || data.startsWith("data:") ? data : `data:application/octet-stream;base64,${data}`,
        fileId: id === undefined ? "" : expectString(id, `${param}.file_id`, 256, 1),
        filename: name === undefined ? "" : expectString(name, `${param}.filename`, 512),
      },
    },
  };
}

/** Parts that some engines know and the contract does not: their addresses keep the same rules. */
function unknownPart(part: JsonObject, type: string, param: string): Part {
  const media = expectObject(part[type], `${param}.${type}`);
  mediaUrl(required(media, "url", `${param}.${type}.url`), `${param}.${type}.url`);
  return { $typeName: "weir.router.v1.Part", part: { case: "unknownJson", value: JSON.stringify(part) } };
}

function mediaUrl(value: JsonValue, param: string): string {
  const url = expectString(value, param, textLengthMax, 1);
  if (!/^(?:https?:\/\/|data:)/i.test(url))
    throw invalid(param, "url_not_allowed", "must be an http, https or data URL");
  return url;
}
