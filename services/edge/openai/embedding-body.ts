import type { EmbedResponse } from "../../../gen/ts/weir/router/v1/inference_service_pb.ts";
import type { EncodingFormat } from "./embedding-request.ts";

/** The JSON of one vector at a time, so that a large answer need not be written in one go. */
export function* embeddingBody(
  model: string,
  { embeddings, usage }: EmbedResponse,
  format: EncodingFormat,
): Generator<string> {
  yield '{"object":"list","data":[';
  for (const [index, { values }] of embeddings.entries()) {
    const vector = format === "base64" ? `"${base64Of(values)}"` : `[${numbersIn(values).join()}]`;
    yield `${index === 0 ? "" : ","}{"object":"embedding","index":${index},"embedding":${vector}}`;
  }
  const tokens = String(usage?.promptTokens ?? 0n);
  yield `],"model":${JSON.stringify(model)},"usage":{"prompt_tokens":${tokens},"total_tokens":${tokens}}}`;
}

function base64Of(values: Uint8Array): string {
  return Buffer.from(values.buffer, values.byteOffset, values.byteLength).toString("base64");
}

/** The bytes may stand anywhere in memory. None is NaN or infinite, which JSON could not say. */
function numbersIn(values: Uint8Array): Float32Array {
  const { buffer, byteOffset, byteLength } = values.byteOffset % 4 === 0 ? values : new Uint8Array(values);
  return new Float32Array(buffer, byteOffset, byteLength / 4);
}
