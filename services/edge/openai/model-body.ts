import { timestampMs } from "@bufbuild/protobuf/wkt";
import type { CallableModel } from "../../../gen/ts/weir/router/v1/model_pb.ts";

/** A model as GET /models shows it. `max_model_len` is what vLLM calls the length of the context. */
export function modelBody(model: CallableModel) {
  return {
    id: model.id,
    object: "model",
    created: model.createTime === undefined ? 0 : Math.floor(timestampMs(model.createTime) / 1000),
    owned_by: model.ownedBy,
    ...(model.contextLength > 0n ? { max_model_len: Number(model.contextLength) } : {}),
  };
}

export function modelListBody(models: readonly CallableModel[]) {
  return { object: "list", data: models.map(modelBody) };
}
