import type { MessageInitShape } from "@bufbuild/protobuf";
import {
  BatchedTokenizeRequestSchema,
  type BatchedTokenizeResponse,
  BatchedTokenizeResponseSchema,
  GenerationService,
} from "../../../gen/ts/engine/tgis/generation_pb.ts";
import { deserializer, serializer } from "../../runtime/grpc-wire.ts";
import type { Target } from "../driver.ts";
import type { Channel, Rpc } from "../grpc/channel.ts";
import { askOnce } from "../grpc/unary.ts";
import { BadAnswer, type CountAttempt, countFrom } from "../unary.ts";
import { failureFromTgisStatus } from "./errors.ts";
import { modelName } from "./interface.ts";

const tokenize: Rpc<MessageInitShape<typeof BatchedTokenizeRequestSchema>, BatchedTokenizeResponse> = {
  path: `/${GenerationService.typeName}/${GenerationService.method.tokenize.name}`,
  write: serializer(BatchedTokenizeRequestSchema),
  read: deserializer(BatchedTokenizeResponseSchema),
};

/** Counts the tokens of a text, those that the tokenizer adds among them. */
export async function countAtTgis(
  channel: Channel,
  target: Target,
  { request, prompt }: CountAttempt,
  signal: AbortSignal,
): Promise<number> {
  const { input, model } = request;
  const text = input.case === "prompt" ? input.value : (prompt ?? "");
  const asked = { modelId: modelName, requests: [{ text }] };
  const about = { channel, target, rpc: tokenize, request: asked, model };
  const { responses } = await askOnce({ ...about, failureFrom: failureFromTgisStatus }, signal);
  const [only] = responses;
  if (only === undefined || responses.length > 1)
    throw new BadAnswer(`counts of ${responses.length} texts, and one was sent`);
  // A tokenizer that finds nothing in a text is none: an empty prompt is not sent.
  return countFrom(only.tokenCount || undefined);
}
