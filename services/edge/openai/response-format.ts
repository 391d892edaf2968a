import type { JsonSchema, ResponseFormat } from "../../../gen/ts/weir/router/v1/generation_pb.ts";
import { isJsonObject, type JsonObject } from "../json/parse.ts";
import { type Draft, ignoreUnknown, type Rule } from "./draft.ts";
import { expectBoolean, expectObject, expectString, optional, required, wrongType } from "./expect.ts";
import { invalid, unsupported } from "./invalid.ts";

const formatMembers: ReadonlySet<string> = new Set(["type"]);
const schemaFormatMembers: ReadonlySet<string> = new Set(["type", "json_schema"]);
const schemaMembers: ReadonlySet<string> = new Set(["name", "description", "schema", "strict"]);
const nameForm = /^[A-Za-z0-9_-]{1,64}$/;
const descriptionLengthMax = 65_536;
const schemaLengthMax = 1_048_576;

/** Reads `response_format`: free text, some JSON object, or JSON that fits a schema. */
export const readResponseFormat: Rule = (value, draft, member) => {
  const from = expectObject(value, member);
  ignoreUnknown(from, member, from["type"] === "json_schema" ? schemaFormatMembers : formatMembers, draft);
  switch (required(from, "type", `${member}.type`)) {
    case "text":
      draft.request.responseFormat = format({ case: "text", value: { $typeName: "weir.router.v1.FreeText" } });
      return;
    case "json_object":
      draft.request.responseFormat = format({
        case: "jsonObject",
        value: { $typeName: "weir.router.v1.AnyJsonObject" },
      });
      return;
    case "json_schema": {
      const at = `${member}.json_schema`;
      const schema = schemaFrom(expectObject(from["json_schema"], at), at, draft);
      draft.request.responseFormat = format({ case: "jsonSchema", value: schema });
      return;
    }
    case "structural_tag":
      throw unsupported(`${member}.type`, "structural tags", draft.request.model);
    default:
      throw invalid(`${member}.type`, "invalid_value", "must be text, json_object or json_schema");
  }
};

function format(form: ResponseFormat["form"]): ResponseFormat {
  return { $typeName: "weir.router.v1.ResponseFormat", form };
}

function schemaFrom(from: JsonObject, param: string, draft: Draft): JsonSchema {
  ignoreUnknown(from, param, schemaMembers, draft);
  const name = expectString(required(from, "name", `${param}.name`), `${param}.name`, 64, 1);
  if (!nameForm.test(name)) throw invalid(`${param}.name`, "invalid_value", "must be of letters, digits, _ and -");
  const description = optional(from, "description");
  const schema = optional(from, "schema");
  const strict = optional(from, "strict");
  if (schema !== undefined && !isJsonObject(schema)) throw wrongType(schema, `${param}.schema`, "an object");
  return {
    $typeName: "weir.router.v1.JsonSchema",
    name,
    description:
      description === undefined ? "" : expectString(description, `${param}.description`, descriptionLengthMax),
    schemaJson: schema === undefined ? "" : expectString(JSON.stringify(schema), `${param}.schema`, schemaLengthMax),
    strict: strict === undefined ? undefined : expectBoolean(strict, `${param}.strict`),
  };
}
