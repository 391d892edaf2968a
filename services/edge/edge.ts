import type { Logger } from "pino";
import type {
  EmbedRequest,
  EmbedResponse,
  GenerateRequest,
  GenerateResponse,
  RerankRequest,
  RerankResponse,
} from "../../gen/ts/weir/router/v1/inference_service_pb.ts";
import type { CallableModel } from "../../gen/ts/weir/router/v1/model_pb.ts";
import type { Clock } from "../runtime/clock.ts";
import type { HttpSettings } from "../runtime/config/settings.ts";
import type { Identity } from "../runtime/identity/identity.ts";
import type { IdSource } from "../runtime/ids.ts";
import type { CallOptions } from "../runtime/mesh/context.ts";
import type { Cancel, Sink } from "../runtime/mesh/push.ts";
import type { ClientAddress } from "../runtime/server/client-address.ts";
import type { Metrics } from "../runtime/telemetry/metrics.ts";

/** What the endpoints stand on. */
export interface Edge {
  readonly http: HttpSettings;
  readonly clock: Clock;
  readonly ids: IdSource;
  readonly log: Logger;
  readonly metrics: Pick<Metrics, "request" | "timeToFirstToken">;
  readonly identity: Pick<Identity, "authenticate">;
  readonly clientAddress: ClientAddress;
  readonly inference: Inference;
}

/** The router, as the edge calls it. */
export interface Inference {
  /** Starts a generation and returns how to cancel it. It never throws. */
  generate(request: GenerateRequest, options: CallOptions, sink: Sink<GenerateResponse>): Cancel;
  /** Rejects with a reason, as the call of its contract fails. */
  embed(request: EmbedRequest, options: CallOptions): Promise<EmbedResponse>;
  /** Rejects with a reason, as the call of its contract fails. */
  rerank(request: RerankRequest, options: CallOptions): Promise<RerankResponse>;
  /** Every model that the principal may call. */
  listModels(options: CallOptions): Promise<readonly CallableModel[]>;
  /** Rejects with MODEL_NOT_FOUND. */
  getModel(id: string, options: CallOptions): Promise<CallableModel>;
}
