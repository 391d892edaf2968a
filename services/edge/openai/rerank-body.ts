import type { RerankRequest, RerankResponse } from "../../../gen/ts/weir/router/v1/inference_service_pb.ts";

/** The answer, in the form that Jina's API, Cohere's and engines share. */
export function rerankBody(
  id: string,
  { model, documents }: RerankRequest,
  { results, usage }: RerankResponse,
  withDocuments: boolean,
): object {
  const tokens = Number(usage?.promptTokens ?? 0n);
  return {
    id,
    model,
    results: results.map(({ index, relevanceScore }) => ({
      index,
      relevance_score: relevanceScore,
      ...(withDocuments ? { document: { text: documents[index] ?? "" } } : {}),
    })),
    usage: { prompt_tokens: tokens, total_tokens: tokens },
  };
}
