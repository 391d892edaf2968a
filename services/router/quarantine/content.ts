import type { Principal } from "../../../gen/ts/weir/auth/v1/principal_pb.ts";
import type { GenerateRequest } from "../../../gen/ts/weir/router/v1/inference_service_pb.ts";
import type { Plan } from "../plan.ts";
import { leavesOf } from "./leaves.ts";

/** What a request asks for, without what only the gateway reads. */
export interface Asked {
  readonly projectId: string;
  /** The model's own id. */
  readonly modelId: string;
  /** The model as the caller named it. */
  readonly model: string;
  /** What can be told of it at a glance: the same for all that ask for the same. */
  readonly sketch: () => string;
  /** All of it: as messages and plain objects. */
  readonly all: () => object;
}

/** What a project asks of a model: the same when a client sends it again. */
export class Content {
  readonly projectId: string;
  /** The model's own id. */
  readonly modelId: string;
  /** The project and the model. */
  readonly scope: string;
  readonly model: string;
  /** Until it was read: then it needs not hold on to the request. */
  #asked: Asked | undefined;
  #sketch: string | undefined;
  #digest: string | undefined;

  constructor(asked: Asked) {
    this.projectId = asked.projectId;
    this.modelId = asked.modelId;
    this.scope = `${asked.projectId} ${asked.modelId}`;
    this.model = asked.model;
    this.#asked = asked;
  }

  /** Its scope and what can be told at a glance: contents whose sketches differ are not the same. */
  get sketch(): string {
    this.#sketch ??= `${this.scope} ${this.#asked?.sketch() ?? ""}`;
    return this.#sketch;
  }

  /** Its scope and a digest of all that is asked. Undefined until it was read: a long prompt takes some milliseconds. */
  get digest(): string | undefined {
    return this.#digest;
  }

  /** All that is asked, piece by piece; nothing once it was read. */
  leaves(): Iterable<string | Uint8Array> {
    return this.#asked ? leavesOf(this.#asked.all()) : [];
  }

  /** It was read. */
  read(digest: string): void {
    this.#digest = `${this.sketch} ${digest}`;
    this.#asked = undefined;
  }
}

/** Of every request: its model is known, and its extras are those that engines get. */
export const notAsked = Object.freeze({ model: "", extrasJson: "" });

/**
 * What a generation asks of a model. Who asks from another session, by an alias, or with a salt of its own, asks for the same:
 * no engine hears of that.
 */
export function contentOf({ projectId }: Principal, { entry, request, extras }: Plan): Content {
  return new Content({
    projectId,
    modelId: entry.model.id,
    model: request.model,
    sketch: () => sketchOf(request),
    all: () => ({ ...request, extras, ...notAsked, affinityHint: "" }),
  });
}

function sketchOf({ input, tools, sampling }: GenerateRequest): string {
  const asked = `${tools.length} ${sampling?.maxTokens ?? ""}`;
  if (input.case === "prompt") return `prompt ${input.value.length} ${asked}`;
  if (input.case === "tokenIds") return `ids ${input.value.ids.length} ${asked}`;
  if (input.case !== "conversation") return asked;
  let length = 0;
  let parts = 0;
  for (const message of input.value.messages) {
    parts += message.parts.length;
    for (const { part } of message.parts) if (part.case === "text") length += part.value.length;
  }
  return `chat ${input.value.messages.length} ${parts} ${length} ${asked}`;
}
