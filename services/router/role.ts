import { create } from "@bufbuild/protobuf";
import type { Logger } from "pino";
import {
  CatalogService,
  WatchRequestSchema,
  type WatchResponse,
} from "../../gen/ts/weir/catalog/v1/catalog_service_pb.ts";
import type { Dialect } from "../../gen/ts/weir/catalog/v1/replica_pb.ts";
import { InferenceService } from "../../gen/ts/weir/router/v1/inference_service_pb.ts";
import type { Driver, Target } from "../drivers/driver.ts";
import { createTokenizers } from "../drivers/tokens/tokenizers.ts";
import { openDriver } from "../drivers/registry.ts";
import { reasonName } from "../runtime/errors/reason-name.ts";
import { systemChance } from "../runtime/ids.ts";
import { callContext } from "../runtime/mesh/caller-context.ts";
import type { Role, Runtime } from "../runtime/role.ts";
import { Admission } from "./admission/admission.ts";
import { createRequestLog } from "./attempt-log.ts";
import { createCacheSalts } from "./cache-salt.ts";
import { Fleet } from "./fleet/fleet.ts";
import { createSchemaChecker } from "./form/schema-checker.ts";
import { followWatch } from "./follow-watch.ts";
import { createGenerations } from "./generate.ts";
import type { GenerationDeps } from "./generation-deps.ts";
import { createAnswerEstimate } from "./metering/answer-estimate.ts";
import { createTokenEstimate } from "./metering/token-estimate.ts";
import { createPromptRenderer } from "./prompt/chat-template.ts";
import { Quarantine } from "./quarantine/quarantine.ts";
import { openQuota } from "./quota/open-quota.ts";
import { inferenceService } from "./service.ts";
import { createUnaries } from "./unary/unary.ts";
import { openUsage } from "./usage/open-usage.ts";

/** The data plane: admit, pick, drive, meter. */
export const role: Role = {
  name: "router",
  async start(runtime) {
    const { clock, metrics, settings } = runtime;
    const log = runtime.log.child({ role: "router" });
    await using started = new AsyncDisposableStack();
    const opened = started.use(await openUsage(runtime, log));
    const { usage, journal } = opened;
    const quota = openQuota(runtime, opened, log, started);
    const tokenizers = started.use(
      createTokenizers({
        clock,
        unusable: (path, problem) => log.error({ path, problem }, "a tokenizer can't be used"),
      }),
    );
    const schemas = started.use(createSchemaChecker(clock));
    const fleet: Fleet = started.use(
      new Fleet({
        clock,
        openDriver: (dialect, target) => driverOf(dialect, target, log),
        changed(poolId) {
          metrics.models(fleet.models());
          // Read before the first request needs them.
          for (const tokenizer of fleet.tokenizers(poolId)) tokenizers.of(tokenizer);
          admission.changed(poolId);
        },
        closeFailed: (replica, err) => log.warn({ replica, err }, "a driver did not close well"),
      }),
    );
    const admission: Admission = new Admission({
      ...settings.router,
      clock,
      chance: systemChance,
      fleet,
      queued: (model) => metrics.queued(model),
    });
    const deps: GenerationDeps = {
      clock,
      fleet,
      admission,
      renderer: started.use(createPromptRenderer()),
      tokenizers,
      schemas,
      estimate: createTokenEstimate(),
      attemptsMax: Math.max(1, settings.router.attemptsMax),
      cacheSalt: createCacheSalts(runtime.derivedSecret("cache-salt")),
      metrics,
      usage,
      quota,
      answers: createAnswerEstimate(),
      quarantine: new Quarantine({
        clock,
        queueTimeoutMs: settings.router.queueTimeoutMs,
        schedule: (run) => void setImmediate(run),
      }),
      log: createRequestLog(log, metrics),
      ejected: (replica, { reason }) =>
        log.warn(
          { replica, reason: reasonName(reason) },
          "a replica fails again and again: it gets no requests for a while",
        ),
    };
    const generations = createGenerations(deps);
    const unaries = createUnaries(deps);
    started.defer(() => {
      generations.stopAll();
      unaries.stopAll();
      // What they were told is held back until it is in the journal.
      journal.flush();
    });
    started.defer(follow(runtime, fleet, log));
    runtime.services.add(InferenceService, inferenceService(fleet, generations, unaries));
    runtime.readiness("router", () => (fleet.synced ? undefined : "the catalogue has not been read so far"));
    return started.move();
  },
};

function follow({ clock, mesh }: Runtime, fleet: Fleet, log: Logger): () => void {
  const { watch } = CatalogService.method;
  return followWatch<WatchResponse>({
    clock,
    service: "catalog",
    open: (sink) => mesh.push(watch)(create(WatchRequestSchema), callContext(watch, { trusted: true }), sink),
    begin: () => fleet.begin(),
    event: (message) => fleet.apply(message),
    lost(error) {
      // Before the first snapshot the catalogue may just be starting.
      if (fleet.synced)
        log.warn({ reason: error && reasonName(error.reason) }, "the catalogue's watch broke; it is opened again");
    },
  });
}

/** A catalogue of a newer version may know dialects that this process does not. */
function driverOf(dialect: Dialect, target: Target, log: Logger): Driver | undefined {
  try {
    return openDriver(dialect, target);
  } catch (err) {
    log.error({ err, dialect }, "a replica cannot be used: no driver of this process speaks its dialect");
    return undefined;
  }
}
