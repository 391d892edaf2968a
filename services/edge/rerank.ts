import type { Principal } from "../../gen/ts/weir/auth/v1/principal_pb.ts";
import type { Edge } from "./edge.ts";
import type { Exchange } from "./exchange.ts";
import { rerankBody } from "./openai/rerank-body.ts";
import { decodeRerankRequest } from "./openai/rerank-request.ts";
import { answerOnce } from "./unary.ts";

/**
 * POST /v1/rerank, /rerank and /v2/rerank.
 *
 * @param withDocuments whether the answer repeats the documents, where the caller does not say.
 */
export function rerank(edge: Edge, exchange: Exchange, principal: Principal, withDocuments: boolean): void {
  answerOnce(edge, exchange, principal, (body) => {
    const {
      request,
      returnDocuments = withDocuments,
      ignored,
    } = decodeRerankRequest(body, {
      strict: edge.http.strict,
    });
    const id = `rerank-${exchange.requestId.replaceAll("-", "")}`;
    return {
      model: request.model,
      ignored,
      call: (options) => edge.inference.rerank(request, options),
      body: (answer) => [JSON.stringify(rerankBody(id, request, answer, returnDocuments))],
    };
  });
}
