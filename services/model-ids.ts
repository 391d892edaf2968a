import { create } from "@bufbuild/protobuf";
import { PrincipalSchema, Reach } from "../gen/ts/weir/auth/v1/principal_pb.ts";
import { InferenceService } from "../gen/ts/weir/router/v1/inference_service_pb.ts";
import type { Assembled } from "./runtime/assemble.ts";
import { type Clock, sleep } from "./runtime/clock.ts";
import { withCallOptions } from "./runtime/mesh/call-options.ts";

/** How long a start waits for the first answer of the engines; they may come later. */
const patienceMs = 2_500;
const againMs = 50;

/** The process itself, asking what it serves. */
const self = create(PrincipalSchema, {
  keyId: "self",
  reach: Reach.INSTALLATION,
  permissions: ["models.read"],
  models: { all: true },
});

/** The models that can be called, once the engines have been asked. */
export async function modelIds(assembled: Assembled, clock: Clock): Promise<readonly string[]> {
  const untilMs = clock.monotonicMs() + patienceMs;
  for (;;) {
    const waiting = Object.keys(assembled.notReady()).length > 0;
    if (!waiting || clock.monotonicMs() >= untilMs) {
      const client = assembled.runtime.mesh.client(InferenceService);
      const { models } = await client.listModels({}, withCallOptions({ principal: self }));
      return models.map((model) => model.id);
    }
    await sleep(clock, againMs);
  }
}
