import type { Principal } from "../../gen/ts/weir/auth/v1/principal_pb.ts";
import { ErrorReason } from "../../gen/ts/weir/error/v1/error_pb.ts";
import { fail, weirErrorFrom } from "../runtime/errors/fail.ts";
import type { Edge } from "./edge.ts";
import type { Exchange } from "./exchange.ts";
import { modelBody, modelListBody } from "./openai/model-body.ts";

const idLengthMax = 256;

/** GET /v1/models. */
export function listModels(edge: Edge, exchange: Exchange, principal: Principal): void {
  edge.inference
    .listModels({ principal, requestId: exchange.requestId })
    .then((models) => exchange.json(200, JSON.stringify(modelListBody(models))))
    .catch((thrown: unknown) => exchange.fail(weirErrorFrom(thrown)));
}

/** GET /v1/models/{id}. */
export function getModel(edge: Edge, exchange: Exchange, principal: Principal, id: string): void {
  if (id.length > idLengthMax)
    return exchange.fail(fail(ErrorReason.MODEL_NOT_FOUND, { model: id.slice(0, idLengthMax) }));
  edge.inference
    .getModel(id, { principal, requestId: exchange.requestId })
    .then((model) => exchange.json(200, JSON.stringify(modelBody(model))))
    .catch((thrown: unknown) => exchange.fail(weirErrorFrom(thrown)));
}
