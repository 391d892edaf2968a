import { Feature } from "../../../gen/ts/weir/catalog/v1/replica_pb.ts";
import type { GenerateRequest } from "../../../gen/ts/weir/router/v1/inference_service_pb.ts";
import { guideFromExtras } from "../../drivers/guide.ts";
import { toolsOffered } from "../prompt/template-messages.ts";
import { bit, type FeatureSet } from "../requirement.ts";
import type { FormRules } from "./form-check.ts";
import { JsonForm } from "./json-form.ts";
import { OneOfForm } from "./one-of-form.ts";

/** What is asked of an engine, and of us. */
export interface AskedForm {
  /** Without the form, where it is ours to check. */
  readonly request: GenerateRequest;
  readonly extras: Readonly<Record<string, unknown>>;
  /** Undefined: nothing is ours to check. */
  readonly rules: FormRules | undefined;
}

/** Parts what a model with these features is asked for into the engine's share and ours. */
export function formOf(asked: Omit<AskedForm, "rules">, features: FeatureSet): AskedForm {
  const { request, extras } = asked;
  const fromExtras = extras["structured_outputs"] !== undefined;
  if (!request.responseFormat && !fromExtras) return { ...asked, rules: undefined };
  const { guide, ignored } = guideFromExtras(request.responseFormat, extras);
  const early = toolsOffered(request).length === 0;
  const lacks = (feature: Feature) => (features & bit(feature)) === 0;
  const rest = fromExtras && !ignored.includes("structured_outputs") ? without(extras) : extras;
  const { responseFormat: _, ...free } = request;
  if (guide?.kind === "object" && lacks(Feature.JSON_OBJECT)) {
    const open = () => new JsonForm({ object: true, alone: early, judge: undefined });
    return { request: free, extras: rest, rules: { name: "json_object", early, open } };
  }
  if (guide?.kind === "choice" && lacks(Feature.JSON_SCHEMA)) {
    const open = () => new OneOfForm(guide.choices);
    return { request: free, extras: rest, rules: { name: "choice", early, open } };
  }
  return { ...asked, rules: undefined };
}

function without({ structured_outputs: _, ...rest }: Readonly<Record<string, unknown>>): AskedForm["extras"] {
  return rest;
}
