import { Feature } from "../../../gen/ts/weir/catalog/v1/replica_pb.ts";
import { Operation } from "../../../gen/ts/weir/quota/v1/limit_pb.ts";
import type { RerankRequest, RerankResponse } from "../../../gen/ts/weir/router/v1/inference_service_pb.ts";
import type { RankedDocument } from "../../../gen/ts/weir/router/v1/unary_answer_pb.ts";
import type { Ranked } from "../../drivers/unary.ts";
import { bit } from "../requirement.ts";
import { planWithExtras } from "./extras.ts";
import type { UnaryOperation } from "./operation.ts";
import { unsupported } from "./unsupported.ts";

const own: ReadonlySet<string> = new Set(["documents", "query", "return_documents", "texts", "top_k", "top_n"]);

/** Ranking: documents in the order of their relevance to a query. */
export const ranking: UnaryOperation<RerankRequest, Ranked, RerankResponse> = {
  name: "rerank",
  operation: Operation.RERANK,
  needed: () => bit(Feature.RERANK),
  // A cross-encoder reads the query with each document.
  size: ({ query, documents }) => ({
    bytes: documents.reduce((sum, text) => sum + Buffer.byteLength(text), Buffer.byteLength(query) * documents.length),
    tokens: undefined,
  }),
  inputs: ({ documents }) => documents.length,
  param: "documents",
  plan: (request, entry) => planWithExtras(request.extrasJson, entry, own),
  lacking: ({ model }) => unsupported("model", "reranking", model),
  ask: (driver, attempt, _place, signal) => driver.rerank?.(attempt, signal),
  tokens: ({ tokens }) => tokens,
  respond({ topN }, { scores }, started, usage) {
    const all = scores.map(
      (relevanceScore, index): RankedDocument => ({
        $typeName: "weir.router.v1.RankedDocument",
        index,
        relevanceScore,
      }),
    );
    // The sort is stable: of two alike the one that came first.
    all.sort((a, b) => b.relevanceScore - a.relevanceScore);
    const results = topN > 0 ? all.slice(0, topN) : all;
    return { $typeName: "weir.router.v1.RerankResponse", started, results, usage };
  },
};
