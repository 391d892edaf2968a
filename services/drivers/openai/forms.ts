import type { Attempt } from "../driver.ts";
import { type Guide, guideFromExtras, patternOf, structuredOutputs } from "../guide.ts";
import { jsonObjectMember } from "../http/json.ts";
import type { Flavour, FormMembers } from "./flavours.ts";

type Members = Readonly<Record<string, unknown>>;

/** A form as the server takes it, or the extra that it has nothing for. */
export type WrittenForm =
  | {
      readonly kind: "form";
      /** At most one member, which replaces any that says less of the form. */
      readonly members: Members;
      /** The other extras. */
      readonly extras: Members;
      /** Extras without a place. */
      readonly ignored: readonly string[];
    }
  | { readonly kind: "unsupported"; readonly param: string };

/**
 * Writes the form that `structured_outputs` asks for with the server's own members. Throws INVALID_ARGUMENT for a schema that
 * is no JSON.
 */
export function writtenForm({ request, extras }: Attempt, { formMembers }: Flavour): WrittenForm {
  if (extras[structuredOutputs] === undefined || !formMembers)
    return { kind: "form", members: {}, extras, ignored: [] };
  const { [structuredOutputs]: given, ...rest } = extras;
  const { guide, ignored } = guideFromExtras(request.responseFormat, { [structuredOutputs]: given });
  // The request's own form goes first.
  if (!guide || ignored.length > 0) return { kind: "form", members: {}, extras: rest, ignored };
  const [member, value] = formMember(guide, formMembers);
  if (member === "") return { kind: "unsupported", param: structuredOutputs };
  return { kind: "form", members: { [member]: value }, extras: rest, ignored };
}

function formMember(guide: Guide, { schema, pattern, grammar }: FormMembers): readonly [name: string, value: unknown] {
  switch (guide.kind) {
    case "object":
      return schema === "" ? ["response_format", { type: "json_object" }] : [schema, { type: "object" }];
    case "json": {
      const json = jsonObjectMember(guide.schema, structuredOutputs);
      if (schema !== "") return [schema, json];
      return ["response_format", { type: "json_schema", json_schema: { name: "answer", schema: json } }];
    }
    case "choice":
      return [pattern, patternOf(guide.choices)];
    case "regex":
      return [pattern, guide.pattern];
    case "grammar":
      return [grammar, guide.grammar];
  }
}
