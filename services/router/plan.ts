import { create } from "@bufbuild/protobuf";
import { ErrorReason } from "../../gen/ts/weir/error/v1/error_pb.ts";
import type { GenerateRequest } from "../../gen/ts/weir/router/v1/inference_service_pb.ts";
import { ConversationSchema } from "../../gen/ts/weir/router/v1/message_pb.ts";
import { fail, WeirError } from "../runtime/errors/fail.ts";
import type { ModelEntry } from "./fleet/fleet.ts";
import { checkExtras } from "./members.ts";
import { checkMessages } from "./message-members.ts";
import { refuse } from "./refused-members.ts";

/** What one model's pool may get of a request of any kind. */
export interface PoolPlan {
  readonly entry: ModelEntry;
  readonly extras: Readonly<Record<string, unknown>>;
  /** Members that are not passed on. */
  readonly ignored: readonly string[];
}

/** A request for a generation as one model's pool may get it. */
export interface Plan extends PoolPlan {
  readonly request: GenerateRequest;
}

/** Holds a request against the rules of the pool that would serve it. */
export function planFor(request: GenerateRequest, entry: ModelEntry): Plan | WeirError {
  const { pool } = entry;
  const most = pool.choicesMax || choicesMaxDefault;
  if (request.choices > most) return tooMany("n", most);
  if (request.bestOf > most) return tooMany("best_of", most);
  const onlyEcho = request.echo && request.input.case !== "conversation";
  if (request.sampling?.maxTokens === 0 && !onlyEcho) return nothingAsked();
  const carried = checkExtras(request.extrasJson, pool);
  if (carried instanceof WeirError) return carried;
  const problem = checkMessages(request, pool);
  if (problem) return problem;
  const { extras, ignored } = carried;
  if (!pool.hosted) return { entry, request, extras, ignored };
  const dropped = withoutMessageExtras(request);
  return { entry, request: dropped.request, extras, ignored: [...ignored, ...dropped.ignored] };
}

const choicesMaxDefault = 8;

function nothingAsked(): WeirError {
  return refuse("max_tokens", "integer_below_min_value", "is 0, which goes with the echo of a prompt only");
}

function tooMany(param: string, most: number): WeirError {
  const problem = `at most ${most} are allowed`;
  return fail(ErrorReason.INVALID_ARGUMENT, { param, code: "integer_above_max_value", problem });
}

/** A hosted API gets no member that the contract does not know, in messages either. */
function withoutMessageExtras(request: GenerateRequest): { request: GenerateRequest; ignored: readonly string[] } {
  const { input } = request;
  if (input.case !== "conversation") return { request, ignored: [] };
  const carrying = input.value.messages.flatMap(({ extrasJson }, index) => (extrasJson ? [index] : []));
  if (carrying.length === 0) return { request, ignored: [] };
  const messages = input.value.messages.map((message) => ({ ...message, extrasJson: "" }));
  const value = create(ConversationSchema, { messages });
  return {
    request: { ...request, input: { case: "conversation", value } },
    ignored: carrying.map((index) => `messages[${index}].*`),
  };
}
