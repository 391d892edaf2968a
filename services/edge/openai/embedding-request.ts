import type { EmbedInput, EmbedRequest } from "../../../gen/ts/weir/router/v1/inference_service_pb.ts";
import type { JsonObject } from "../json/parse.ts";
import type { DecodeOptions } from "./chat-request.ts";
import { extrasJson, modelNameOf, unknownMembers } from "./draft.ts";
import { expectInteger, expectOneOf, expectString, optional, required } from "./expect.ts";
import { inputForms, type TextOrTokens } from "./input-forms.ts";

/** The contract's bound. */
const dimensionsMax = 65_536;
const userLengthMax = 512;

/** How vectors are written. */
export type EncodingFormat = "float" | "base64";

/** A decoded request, and what its answer must know. */
export interface DecodedEmbedding {
  readonly request: EmbedRequest;
  readonly format: EncodingFormat;
  readonly ignored: readonly string[];
}

const known: ReadonlySet<string> = new Set(["model", "input", "dimensions", "encoding_format", "user"]);

/** Decodes the body of POST /embeddings. Throws INVALID_ARGUMENT with the member's path. */
export function decodeEmbeddingRequest(body: JsonObject, { strict }: DecodeOptions): DecodedEmbedding {
  const request: EmbedRequest = {
    $typeName: "weir.router.v1.EmbedRequest",
    model: modelNameOf(body),
    inputs: inputForms(required(body, "input", "input"), "input").map(embedInput),
    extrasJson: extrasJson(unknownMembers(body, known, strict), ""),
  };
  const dimensions = optional(body, "dimensions");
  if (dimensions !== undefined) request.dimensions = expectInteger(dimensions, "dimensions", 1, dimensionsMax);
  const format = optional(body, "encoding_format");
  const user = optional(body, "user");
  if (user !== undefined) expectString(user, "user", userLengthMax);
  return {
    request,
    format: format === undefined ? "float" : expectOneOf(format, "encoding_format", ["float", "base64"]),
    ignored: user === undefined ? [] : ["user"],
  };
}

function embedInput(one: TextOrTokens): EmbedInput {
  if (one.case === "text") return { $typeName: "weir.router.v1.EmbedInput", input: { case: "text", value: one.text } };
  const value = { $typeName: "weir.router.v1.TokenIds" as const, ids: one.ids };
  return { $typeName: "weir.router.v1.EmbedInput", input: { case: "tokenIds", value } };
}
