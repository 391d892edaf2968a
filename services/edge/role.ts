import { systemIds } from "../runtime/ids.ts";
import type { Role } from "../runtime/role.ts";
import { createEdgeApp } from "./app.ts";
import { createInference } from "./inference.ts";

/** The OpenAI-style API on the public port. */
export const role: Role = {
  name: "edge",
  start(runtime) {
    runtime.http.add(
      createEdgeApp({
        http: runtime.settings.http,
        clock: runtime.clock,
        ids: systemIds,
        log: runtime.log.child({ role: "edge" }),
        metrics: runtime.metrics,
        identity: runtime.identity,
        clientAddress: runtime.http.clientAddress,
        inference: createInference(runtime.mesh),
      }),
    );
    // Requests that run are the server's to end: the edge itself holds nothing.
    return Promise.resolve({ [Symbol.asyncDispose]: () => Promise.resolve() });
  },
};
