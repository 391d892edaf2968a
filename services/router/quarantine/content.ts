import { createHash } from "node:crypto";
import { toBinary } from "@bufbuild/protobuf";
import type { Principal } from "../../../gen/ts/weir/auth/v1/principal_pb.ts";
import { type GenerateRequest, GenerateRequestSchema } from "../../../gen/ts/weir/router/v1/inference_service_pb.ts";

/** What a project asks of a model: the same when a client sends it again. */
export class Content {
  readonly model: string;
  /** The project and the model. */
  readonly scope: string;
  readonly #bytes: () => Uint8Array;
  #key: string | undefined;

  /**
   * @param model as the caller named it.
   * @param bytes the whole request in protobuf's binary form; asked for once, when somebody wants the key.
   */
  constructor(projectId: string, modelId: string, model: string, bytes: () => Uint8Array) {
    this.model = model;
    this.scope = `${projectId} ${modelId}`;
    this.#bytes = bytes;
  }

  /** Its scope and a digest of all that is asked. The digest of a long prompt takes some milliseconds: mostly nobody wants it. */
  get key(): string {
    this.#key ??= `${this.scope} ${createHash("sha256").update(this.#bytes()).digest("base64")}`;
    return this.#key;
  }
}

/** What a generation asks of a model. */
export function contentOf({ projectId }: Principal, modelId: string, request: GenerateRequest): Content {
  return new Content(projectId, modelId, request.model, () => toBinary(GenerateRequestSchema, request));
}
