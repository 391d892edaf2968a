import type { Model } from "../../../gen/ts/weir/catalog/v1/model_pb.ts";
import type { GenerateRequest } from "../../../gen/ts/weir/router/v1/inference_service_pb.ts";
import { type IdSource, systemIds } from "../../runtime/ids.ts";
import { toolsOffered } from "../prompt/template-messages.ts";
import { AnswerReader, callIds } from "./answer-reader.ts";
import { callFormat, thoughtFormat } from "./formats.ts";
import { offeredTools } from "./offered-tools.ts";

/** What is done by us for an engine that only continues a text. */
export interface PlainAnswer {
  /** Reads what it says; undefined: all of it is text. */
  readonly reader: AnswerReader | undefined;
  /** What of the request is left for the engine: the functions are in the prompt. */
  readonly request: GenerateRequest;
  /** Members that nothing can hold the model to. */
  readonly ignored: readonly string[];
}

/** How the answer to a prompt that the model's chat template made is read. */
export function plainAnswer(
  model: Pick<Model, "toolParser" | "reasoningParser">,
  request: GenerateRequest,
  prompt: string,
  ids: Pick<IdSource, "short"> = systemIds,
): PlainAnswer {
  const offered = toolsOffered(request);
  const calls = offered.length > 0 ? callFormat(model.toolParser) : undefined;
  const thought = thoughtFormat(model.reasoningParser);
  if (!calls && !thought) return { reader: undefined, request, ignored: [] };
  const form = { calls, thought, prompt, tools: offeredTools(offered) };
  const reader = new AnswerReader(form, callIds(model.toolParser, ids));
  if (!calls) return { reader, request, ignored: [] };
  return { reader, request: withoutTools(request), ignored: unheld(request) };
}

function withoutTools(request: GenerateRequest): GenerateRequest {
  const { toolChoice: _, ...rest } = request;
  return { ...rest, tools: [] };
}

function unheld({ parallelToolCalls, tools }: GenerateRequest): string[] {
  const strict = tools.flatMap((tool, index) => (tool.strict ? [`tools[${index}].function.strict`] : []));
  return parallelToolCalls === false ? ["parallel_tool_calls", ...strict] : strict;
}
