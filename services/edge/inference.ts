import { InferenceService } from "../../gen/ts/weir/router/v1/inference_service_pb.ts";
import type { CallableModel } from "../../gen/ts/weir/router/v1/model_pb.ts";
import { ErrorReason } from "../../gen/ts/weir/error/v1/error_pb.ts";
import { fail } from "../runtime/errors/fail.ts";
import { withCallOptions } from "../runtime/mesh/call-options.ts";
import { callContext } from "../runtime/mesh/caller-context.ts";
import type { Mesh } from "../runtime/role.ts";
import type { Inference } from "./edge.ts";

const pageSize = 1_000;
/** Pages of models that one list takes: more than that is no list for a person. */
const pagesMax = 100;

/** The router through the mesh, wherever it runs. */
export function createInference(mesh: Mesh): Inference {
  const client = mesh.client(InferenceService);
  const { generate } = InferenceService.method;
  const push = mesh.push(generate);
  return {
    generate: (request, options, sink) => push(request, callContext(generate, options), sink),
    embed: (request, options) => client.embed(request, withCallOptions(options)),
    rerank: (request, options) => client.rerank(request, withCallOptions(options)),
    async listModels(options) {
      const models: CallableModel[] = [];
      let pageToken = "";
      for (let page = 0; page < pagesMax; page++) {
        const answer = await client.listModels({ pageSize, pageToken }, withCallOptions(options));
        models.push(...answer.models);
        pageToken = answer.nextPageToken;
        if (pageToken === "") break;
      }
      return models;
    },
    async getModel(id, options) {
      const { model } = await client.getModel({ model: id }, withCallOptions(options));
      if (model === undefined) throw fail(ErrorReason.MODEL_NOT_FOUND, { model: id });
      return model;
    },
  };
}
