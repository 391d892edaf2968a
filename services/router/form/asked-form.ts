import { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import type { GenerateRequest } from "../../../gen/ts/weir/router/v1/inference_service_pb.ts";
import { type Guide, guideFromExtras, structuredOutputs } from "../../drivers/guide.ts";
import { fail } from "../../runtime/errors/fail.ts";
import { toolsOffered } from "../prompt/template-messages.ts";
import { covers, type FeatureSet, neededByGuide } from "../requirement.ts";
import type { FormRules } from "./form-check.ts";
import { JsonForm } from "./json-form.ts";
import { OneOfForm } from "./one-of-form.ts";
import { PatternForm } from "./pattern-form.ts";
import type { SchemaChecker } from "./schema-checker.ts";

/** What is asked of an engine, and of us. */
export interface AskedForm {
  /** Without the form, where it is ours to check. */
  readonly request: GenerateRequest;
  readonly extras: Readonly<Record<string, unknown>>;
  /** Undefined: nothing is ours to check. */
  readonly rules: FormRules | undefined;
  /** Finds out whether the form can be checked at all, before an engine hears of it. Rejects with INVALID_ARGUMENT. */
  readonly prepare: (() => Promise<void>) | undefined;
}

type Ours = Pick<AskedForm, "rules" | "prepare">;
const nothing: Ours = { rules: undefined, prepare: undefined };

/**
 * Parts what a model with these features is asked for into the engine's share and ours.
 *
 * @param owner whose requests take turns with those of others.
 */
export function formOf(
  asked: Pick<AskedForm, "request" | "extras">,
  features: FeatureSet,
  schemas: SchemaChecker,
  owner: string,
): AskedForm {
  const { request, extras } = asked;
  const format = request.responseFormat;
  if (!format && extras[structuredOutputs] === undefined) return { ...asked, ...nothing };
  const { guide } = guideFromExtras(format, extras);
  if (!guide || isEnforced(guide, features)) return { ...asked, ...nothing };
  const early = toolsOffered(request).length === 0;
  const isFormat = format?.form.case === "jsonObject" || format?.form.case === "jsonSchema";
  const { responseFormat: _, ...free } = request;
  const { [structuredOutputs]: __, ...rest } = extras;
  const given = isFormat ? { request: free, extras } : { request, extras: rest };
  const loose = format?.form.case === "jsonSchema" && format.form.value.strict === false;
  const param = isFormat ? formatParam : structuredOutputs;
  return { ...given, ...ours(guide, { early, loose, param, owner }, schemas) };
}

const formatParam = "response_format.json_schema.schema";

/** Whether the engine sees to it. Nobody can check a grammar after the fact: without one the request does not come here. */
function isEnforced(guide: Guide, features: FeatureSet): boolean {
  return guide.kind === "grammar" || covers(features, neededByGuide(guide));
}

interface Terms {
  readonly early: boolean;
  /** The schema is a wish: any JSON will do. */
  readonly loose: boolean;
  readonly param: string;
  readonly owner: string;
}

function ours(guide: Guide, { early, loose, param, owner }: Terms, schemas: SchemaChecker): Ours {
  const json = (object: boolean, schema?: string) => () => {
    const judge = schema === undefined ? undefined : (text: string) => schemas.check(owner, schema, "json", text);
    return new JsonForm({ object, alone: early, judge });
  };
  switch (guide.kind) {
    case "object":
      return { rules: { name: "json_object", early, open: json(true) }, prepare: undefined };
    case "json":
      if (loose) return { rules: { name: "json_schema", early, open: json(false) }, prepare: undefined };
      return {
        rules: { name: "json_schema", early, open: json(false, guide.schema) },
        prepare: preparing(schemas, owner, guide.schema, param),
      };
    case "choice":
      return { rules: { name: "choice", early, open: () => new OneOfForm(guide.choices) }, prepare: undefined };
    case "regex": {
      // Once alone: what is no pattern by itself shall not become one between the brackets.
      const patterns = [guide.pattern, `^(?:${guide.pattern})$`].map((pattern) => ({ pattern }));
      const schema = JSON.stringify({ type: "string", allOf: patterns });
      const open = () => new PatternForm((text) => schemas.check(owner, schema, "text", text));
      return { rules: { name: "regex", early, open }, prepare: preparing(schemas, owner, schema, param) };
    }
    default:
      return nothing;
  }
}

function preparing(schemas: SchemaChecker, owner: string, schema: string, param: string): AskedForm["prepare"] {
  if (schemas.known(schema) === "good") return undefined;
  return async () => {
    const found = await schemas.prepare(owner, schema);
    if (!found) return;
    const { path, problem } = found;
    const at = `${param}${param === structuredOutputs ? "" : path}`.slice(0, 256);
    throw fail(ErrorReason.INVALID_ARGUMENT, { param: at, code: "invalid_json_schema", problem });
  };
}
