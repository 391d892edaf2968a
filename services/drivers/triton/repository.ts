import { create } from "@bufbuild/protobuf";
import { GRPCInferenceService } from "../../../gen/ts/engine/triton/grpc_service_pb.ts";
import {
  type EngineModel,
  EngineModelSchema,
  EngineModelState,
} from "../../../gen/ts/weir/catalog/v1/engine_service_pb.ts";
import { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import { sleep } from "../../runtime/clock.ts";
import { fail, WeirError } from "../../runtime/errors/fail.ts";
import type { Target } from "../driver.ts";
import { scrubbed } from "../engine-text.ts";
import type { Channel } from "../grpc/channel.ts";
import { isStatusError, probeError } from "../grpc/status.ts";
import type { ModelRepository } from "../repository.ts";
import { recognise } from "./errors.ts";

const { repositoryIndex, repositoryModelLoad, repositoryModelUnload } = GRPCInferenceService.method;

/** Weights of hundreds of gigabytes from a slow disk. */
const loadTimeoutMs = 1_800_000;
/** How long an unload is waited for: requests of a process that died never end, and it may be loaded again all the same. */
const settleMs = 5_000;
const lookEveryMs = 50;
const reasonLengthMax = 2_000;

const states: ReadonlyMap<string, EngineModelState> = new Map([
  ["READY", EngineModelState.READY],
  ["LOADING", EngineModelState.LOADING],
  ["UNLOADING", EngineModelState.UNLOADING],
  ["UNAVAILABLE", EngineModelState.UNLOADED],
  // Of a model that was never loaded it says nothing but the name.
  ["", EngineModelState.UNLOADED],
]);

const controlOff = /explicit model load \/ unload is not allowed/i;

/** The models of a Triton server's repository. */
export function tritonRepository(channel: Channel, target: Target): ModelRepository {
  const ask = async <T>(question: Promise<T>, model = ""): Promise<T> => {
    try {
      return await question;
    } catch (thrown) {
      throw controlError(thrown, model);
    }
  };

  async function list(signal: AbortSignal): Promise<readonly EngineModel[]> {
    const { models } = await ask(channel.ask(repositoryIndex, {}, signal));
    return models
      .map(({ name, version, state, reason }) =>
        create(EngineModelSchema, {
          name,
          version,
          state: states.get(state) ?? EngineModelState.UNSPECIFIED,
          reason: reason.slice(0, reasonLengthMax),
        }),
      )
      .toSorted((one, other) => compare(one.name, other.name) || compare(one.version, other.version));
  }

  /** The model's versions. */
  async function find(name: string, signal: AbortSignal): Promise<readonly EngineModel[]> {
    const found = (await list(signal)).filter((model) => model.name === name);
    if (found.length === 0) throw fail(ErrorReason.NOT_FOUND, { resource: "model of the engine", id: name });
    return found;
  }

  return {
    list,
    async load(name, signal) {
      try {
        await ask(channel.ask(repositoryModelLoad, { modelName: name }, signal, loadTimeoutMs), name);
      } catch (thrown) {
        // Of a model that is not there it says the same as of one with a broken configuration.
        if (thrown instanceof WeirError && thrown.reason === ErrorReason.ENGINE_FAILED) await find(name, signal);
        throw thrown;
      }
    },
    async unload(name, signal) {
      // It unloads whatever it is told to, also what it does not have.
      await find(name, signal);
      await ask(channel.ask(repositoryModelUnload, { modelName: name }, signal), name);
      const untilMs = target.clock.monotonicMs() + settleMs;
      for (;;) {
        const versions = await find(name, signal);
        const isGoing = versions.some(({ state }) => state === EngineModelState.UNLOADING);
        if (!isGoing) return EngineModelState.UNLOADED;
        if (target.clock.monotonicMs() >= untilMs) return EngineModelState.UNLOADING;
        await sleep(target.clock, lookEveryMs, signal);
        if (signal.aborted) throw fail(ErrorReason.CANCELLED);
      }
    },
  };
}

function compare(one: string, other: string): number {
  return one === other ? 0 : one < other ? -1 : 1;
}

function controlError(thrown: unknown, model: string): WeirError {
  if (!isStatusError(thrown)) return probeError(thrown, recognise);
  if (controlOff.test(thrown.details)) {
    const problem = "Triton does so only when it is started with --model-control-mode=explicit";
    return fail(ErrorReason.ENGINE_CONTROL_OFF, { problem }, { cause: thrown });
  }
  if (/^failed to (?:un)?load/i.test(thrown.details))
    return fail(ErrorReason.ENGINE_FAILED, { model, problem: scrubbed(thrown.details) }, { cause: thrown });
  return probeError(thrown, recognise);
}
