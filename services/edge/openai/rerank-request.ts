import type { RerankRequest } from "../../../gen/ts/weir/router/v1/inference_service_pb.ts";
import { isJsonObject, type JsonObject, type JsonValue } from "../json/parse.ts";
import type { DecodeOptions } from "./chat-request.ts";
import { extrasJson, modelNameOf, unknownMembers } from "./draft.ts";
import { expectArray, expectBoolean, expectInteger, expectString, optional, required, wrongType } from "./expect.ts";

/** The bounds of the contract. */
const documentsMax = 2_048;
const textLengthMax = 8_388_608;
const userLengthMax = 512;

/** A decoded request, and what its answer must know. */
export interface DecodedRerank {
  readonly request: RerankRequest;
  /** Undefined: as the path has it. */
  readonly returnDocuments: boolean | undefined;
  readonly ignored: readonly string[];
}

const known: ReadonlySet<string> = new Set(["model", "query", "documents", "top_n", "return_documents", "user"]);

/** Decodes the body of POST /rerank, in the form that Jina's API, Cohere's and engines share. Throws INVALID_ARGUMENT. */
export function decodeRerankRequest(body: JsonObject, { strict }: DecodeOptions): DecodedRerank {
  const documents = expectArray(required(body, "documents", "documents"), "documents", documentsMax, 1);
  const topN = optional(body, "top_n");
  const returnDocuments = optional(body, "return_documents");
  const user = optional(body, "user");
  if (user !== undefined) expectString(user, "user", userLengthMax);
  return {
    request: {
      $typeName: "weir.router.v1.RerankRequest",
      model: modelNameOf(body),
      query: expectString(required(body, "query", "query"), "query", textLengthMax, 1),
      documents: documents.map(textOf),
      // A larger number than there are documents means all of them.
      topN: topN === undefined ? 0 : Math.min(expectInteger(topN, "top_n", 1, 2 ** 31 - 1), documentsMax),
      extrasJson: extrasJson(unknownMembers(body, known, strict), ""),
    },
    returnDocuments: returnDocuments === undefined ? undefined : expectBoolean(returnDocuments, "return_documents"),
    ignored: user === undefined ? [] : ["user"],
  };
}

/** A text, or an object that holds one. */
function textOf(document: JsonValue, at: number): string {
  const param = `documents[${at}]`;
  if (typeof document === "string") return expectString(document, param, textLengthMax);
  if (!isJsonObject(document)) throw wrongType(document, param, "a string, or an object with a `text`");
  return expectString(required(document, "text", `${param}.text`), `${param}.text`, textLengthMax);
}
