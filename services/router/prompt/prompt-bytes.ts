import type { GenerateRequest } from "../../../gen/ts/weir/router/v1/inference_service_pb.ts";
import type { PromptBytes } from "../metering/meter.ts";

/** A chat template wraps each message in a few tokens. */
const bytesPerMessage = 12;

/** How long the prompt is, before an engine or a template has seen it. Pictures and sound count nothing. */
export function promptBytes({ input, tools }: GenerateRequest): PromptBytes {
  if (input.case === "tokenIds") return { bytes: 0, tokens: input.value.ids.length };
  if (input.case === "prompt") return { bytes: Buffer.byteLength(input.value), tokens: undefined };
  let bytes = 0;
  if (input.case === "conversation") {
    for (const { parts, toolCalls, reasoning } of input.value.messages) {
      bytes += bytesPerMessage + Buffer.byteLength(reasoning);
      for (const { part } of parts) {
        if (part.case === "text" || part.case === "refusal") bytes += Buffer.byteLength(part.value);
      }
      for (const call of toolCalls) bytes += Buffer.byteLength(call.name) + Buffer.byteLength(call.arguments);
    }
  }
  for (const tool of tools) bytes += Buffer.byteLength(tool.description) + Buffer.byteLength(tool.parametersJson);
  return { bytes, tokens: undefined };
}
