import { create } from "@bufbuild/protobuf";
import type { Principal } from "../../gen/ts/weir/auth/v1/principal_pb.ts";
import { ErrorReason } from "../../gen/ts/weir/error/v1/error_pb.ts";
import {
  GetModelResponseSchema,
  type InferenceService,
  ListModelsResponseSchema,
} from "../../gen/ts/weir/router/v1/inference_service_pb.ts";
import { fail } from "../runtime/errors/fail.ts";
import type { CallContext } from "../runtime/mesh/context.ts";
import { pushed } from "../runtime/mesh/push.ts";
import type { ServiceImplementation } from "../runtime/mesh/registry.ts";
import { pageOf } from "../runtime/paging.ts";
import type { Fleet } from "./fleet/fleet.ts";
import type { Generations } from "./generate.ts";
import { callableModel, findCallable, listCallable } from "./models.ts";
import type { Unaries } from "./unary/unary.ts";

const pageSizeDefault = 1_000;

/** Runs models, and tells which there are. */
export function inferenceService(
  fleet: Pick<Fleet, "resolve" | "names" | "synced">,
  generations: Generations,
  unaries: Unaries,
): ServiceImplementation<typeof InferenceService> {
  return {
    generate: pushed(generations.push),
    embed: unaries.embed,
    rerank: unaries.rerank,
    countTokens: unaries.countTokens,
    listModels(request, context) {
      const list = listCallable(fleet, callerOf(fleet, context));
      const { items, nextPageToken } = pageOf(list, (model) => model.id, request, pageSizeDefault);
      return create(ListModelsResponseSchema, { models: [...items], nextPageToken });
    },
    getModel(request, context) {
      const entry = findCallable(fleet, callerOf(fleet, context), request.model);
      if (!entry) throw fail(ErrorReason.MODEL_NOT_FOUND, { model: request.model });
      return create(GetModelResponseSchema, { model: callableModel(request.model, entry) });
    },
  };
}

/** Who asks; throws while the fleet is not known, when no list would be the truth. */
function callerOf(fleet: Pick<Fleet, "synced">, { principal }: CallContext): Principal {
  if (!principal) throw fail(ErrorReason.CREDENTIAL_MISSING);
  if (!fleet.synced) throw fail(ErrorReason.SERVICE_UNAVAILABLE, { service: "catalog" }, { retryAfterMs: 1_000 });
  return principal;
}
