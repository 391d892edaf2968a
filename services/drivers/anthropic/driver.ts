import { Dialect } from "../../../gen/ts/weir/catalog/v1/replica_pb.ts";
import { httpDriver } from "../http/driver.ts";
import { judged } from "../unary.ts";
import { anthropicConnection } from "./connection.ts";
import { countAtAnthropic } from "./counting.ts";
import { startGeneration } from "./generation.ts";
import { isAnthropic, probeAnthropic } from "./probe.ts";

/** Anthropic's Messages API. */
export const anthropicDriver = httpDriver({
  dialect: Dialect.ANTHROPIC,
  connect: anthropicConnection,
  detect: isAnthropic,
  probeOf: (connection) => (signal) => probeAnthropic(connection, signal),
  generate: startGeneration,
  unaryOf: (connection, target) => ({
    countTokens: (attempt, signal) =>
      judged(attempt, target, () => countAtAnthropic(connection, target, attempt, signal)),
  }),
});
