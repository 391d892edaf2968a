import { create } from "@bufbuild/protobuf";
import { DecodingParametersSchema, GenerationService } from "../../../gen/ts/engine/tgis/generation_pb.ts";
import { Feature, ReplicaLoadSchema, ReplicaModelSchema } from "../../../gen/ts/weir/catalog/v1/replica_pb.ts";
import type { ProbeResult, Sighting } from "../driver.ts";
import type { Channel } from "../grpc/channel.ts";
import { isServing } from "../grpc/health.ts";
import { filesWith } from "../grpc/reflection.ts";
import { isStatusError, probeError, sightingBy } from "../grpc/status.ts";
import { recognise } from "./errors.ts";
import { modelName, type TgisInterface } from "./interface.ts";
import { type PieceForm, pieceFormOf, telling } from "./pieces.ts";

const { modelInfo, tokenize } = GenerationService.method;

/** Whether the server at the channel's end is TGIS. */
export function isTgis(channel: Channel, signal: AbortSignal): Promise<Sighting> {
  return sightingBy(channel.ask(modelInfo, { modelId: modelName }, signal), recognise);
}

/** Asks what the server's one model can do. How busy it is it does not say here, nor what it is called. */
export async function probeTgis(channel: Channel, signal: AbortSignal): Promise<ProbeResult> {
  try {
    const [info, ready, pieces, guides] = await Promise.all([
      channel.ask(modelInfo, { modelId: modelName }, signal),
      isServing(channel, GenerationService.typeName, signal),
      pieceForm(channel, signal),
      takesGuides(channel, signal),
    ]);
    const described: TgisInterface = { maxNewTokens: info.maxNewTokens, pieces, guides };
    const model = create(ReplicaModelSchema, {
      engineModel: modelName,
      contextLength: BigInt(info.maxSequenceLength),
      ready,
      features: featuresOf(described),
      flavour: "tgis",
      interfaceJson: JSON.stringify(described),
    });
    return {
      engine: "tgis",
      models: [model],
      load: create(ReplicaLoadSchema, { running: -1, waiting: -1, kvUsed: -1 }),
    };
  } catch (thrown) {
    throw probeError(thrown, recognise);
  }
}

/** Tokens come as their vocabulary writes them; to tell their texts the form must be known. */
async function pieceForm(channel: Channel, signal: AbortSignal): Promise<PieceForm | undefined> {
  try {
    const { responses } = await channel.ask(tokenize, { requests: [{ text: telling }], returnTokens: true }, signal);
    return pieceFormOf(responses[0]?.tokens ?? []);
  } catch (thrown) {
    // Without an answer there are no log probabilities, and the rest is as good.
    if (isStatusError(thrown)) return undefined;
    throw thrown;
  }
}

/** The server's own contract says it. IBM's server shows nobody a contract, and has no such forms in it. */
async function takesGuides(channel: Channel, signal: AbortSignal): Promise<boolean> {
  const files = await filesWith(channel, DecodingParametersSchema.typeName, signal);
  const messages = files.flatMap(({ messageType }) => messageType);
  const decoding = messages.find(({ name }) => name === DecodingParametersSchema.name);
  return decoding?.oneofDecl.some(({ name }) => name === "guided") ?? false;
}

const forms = [Feature.JSON_SCHEMA, Feature.JSON_OBJECT, Feature.PATTERN, Feature.GRAMMAR];

function featuresOf({ pieces, guides }: TgisInterface): Feature[] {
  return [
    Feature.PROMPT,
    Feature.STREAM,
    ...(guides ? forms : []),
    Feature.CANCEL,
    Feature.COUNT_TOKENS,
    ...(pieces === undefined ? [] : [Feature.LOGPROBS]),
  ];
}
