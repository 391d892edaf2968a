import { Dialect } from "../../../gen/ts/weir/catalog/v1/replica_pb.ts";
import { httpDriver } from "../http/driver.ts";
import { anthropicConnection } from "./connection.ts";
import { startGeneration } from "./generation.ts";
import { isAnthropic, probeAnthropic } from "./probe.ts";

/** Anthropic's Messages API. */
export const anthropicDriver = httpDriver({
  dialect: Dialect.ANTHROPIC,
  connect: anthropicConnection,
  detect: isAnthropic,
  probeOf: (connection) => (signal) => probeAnthropic(connection, signal),
  generate: startGeneration,
});
