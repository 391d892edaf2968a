import {
  type EngineModel,
  EngineModelState,
  EngineModelStateSchema,
} from "../gen/ts/weir/catalog/v1/engine_service_pb.ts";
import { ErrorReason } from "../gen/ts/weir/error/v1/error_pb.ts";
import type { Credential } from "./drivers/credential.ts";
import { detectDialect, openDriver } from "./drivers/registry.ts";
import type { ModelRepository } from "./drivers/repository.ts";
import { type EngineProbe, problemOf, targetOf } from "./probe-engine.ts";
import type { Clock } from "./runtime/clock.ts";
import type { EngineCommand } from "./runtime/config/flags.ts";
import { fail, weirErrorFrom } from "./runtime/errors/fail.ts";

/** What an engine's models are asked or told. */
export interface EngineOrder {
  readonly command: Exclude<EngineCommand, "engines probe">;
  readonly url: string;
  /** Of loading and unloading. */
  readonly engineModel: string;
}

/** A server that answers nothing is given up; what it does for an order takes as long as it takes. */
const detectTimeoutMs = 10_000;

/**
 * Lists, loads or unloads models of the engine at a URL, directly.
 *
 * @param credential what it wants; undefined: nothing.
 */
export async function orderEngine(
  { command, url, engineModel }: EngineOrder,
  credential: Credential | undefined,
  clock: Clock,
): Promise<EngineProbe> {
  const target = targetOf(url, credential, clock);
  try {
    const dialect = await detectDialect(target, AbortSignal.timeout(detectTimeoutMs));
    await using driver = openDriver(dialect, target);
    if (!driver.repository) throw fail(ErrorReason.ENGINE_CONTROL_OFF, { problem: "its protocol has no such orders" });
    const report = await reports[command](driver.repository, engineModel, new AbortController().signal);
    return { kind: "found", report: `${url}\n${report}` };
  } catch (thrown) {
    return { kind: "failed", problem: `${url}: ${problemOf(weirErrorFrom(thrown))}` };
  }
}

type Report = (repository: ModelRepository, name: string, signal: AbortSignal) => Promise<string>;

const reports: Readonly<Record<EngineOrder["command"], Report>> = {
  "engines models": async (repository, _name, signal) => {
    const models = await repository.list(signal);
    return models.length === 0 ? "  no models\n" : models.map(lineOf).join("");
  },
  "engines load": async (repository, name, signal) => {
    await repository.load(name, signal);
    return `  ${name}: loaded\n`;
  },
  "engines unload": async (repository, name, signal) => {
    const state = await repository.unload(name, signal);
    const isGone = state === EngineModelState.UNLOADED;
    return `  ${name}: ${isGone ? "unloaded" : "takes no more requests; some are still at it. It may be loaded all the same"}\n`;
  },
};

const stateWidth = 11;

function lineOf({ name, version, state, reason }: EngineModel): string {
  const said = EngineModelStateSchema.value[state]?.name.replace("ENGINE_MODEL_STATE_", "").toLowerCase() ?? "";
  const why = reason === "" || state === EngineModelState.READY ? "" : `  (${reason.replace(/\s+/g, " ")})`;
  return `  ${said.padEnd(stateWidth)}${name}${version === "" ? "" : `, version ${version}`}${why}\n`;
}
