import type { EngineModel, EngineModelState } from "../../gen/ts/weir/catalog/v1/engine_service_pb.ts";

/**
 * The models that an engine could serve, loaded or not. All of it rejects with ENGINE_CONTROL_OFF if the engine takes no such
 * orders, else with ENGINE_UNAVAILABLE, ENGINE_CREDENTIAL, ENGINE_TIMEOUT or ENGINE_PROTOCOL.
 */
export interface ModelRepository {
  /** By name and version. */
  list(signal: AbortSignal): Promise<readonly EngineModel[]>;
  /**
   * Loads a model; resolves when it takes requests. Does nothing for one that is loaded and unchanged.
   *
   * Rejects with NOT_FOUND for a model that is not there, with ENGINE_FAILED for one that does not load.
   */
  load(name: string, signal: AbortSignal): Promise<void>;
  /**
   * Unloads a model; resolves with UNLOADED when it is gone, after 5 s with UNLOADING if requests are still at it. A model
   * that is not loaded is fine.
   *
   * Rejects with NOT_FOUND for a model that is not there.
   */
  unload(name: string, signal: AbortSignal): Promise<EngineModelState>;
}
