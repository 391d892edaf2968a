import type { Principal } from "../../gen/ts/weir/auth/v1/principal_pb.ts";
import type { Edge } from "./edge.ts";
import type { Exchange } from "./exchange.ts";
import { embeddingBody } from "./openai/embedding-body.ts";
import { decodeEmbeddingRequest } from "./openai/embedding-request.ts";
import { answerOnce } from "./unary.ts";

/** POST /v1/embeddings. */
export function embeddings(edge: Edge, exchange: Exchange, principal: Principal): void {
  answerOnce(edge, exchange, principal, (body) => {
    const { request, format, ignored } = decodeEmbeddingRequest(body, { strict: edge.http.strict });
    return {
      model: request.model,
      ignored,
      call: (options) => edge.inference.embed(request, options),
      body: (answer) => embeddingBody(request.model, answer, format),
    };
  });
}
