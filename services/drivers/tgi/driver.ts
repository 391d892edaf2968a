import { Dialect } from "../../../gen/ts/weir/catalog/v1/replica_pb.ts";
import { connectionTo } from "../http/connection.ts";
import { httpDriver } from "../http/driver.ts";
import { judged } from "../unary.ts";
import { countAtTgi } from "./counting.ts";
import { startGeneration } from "./generation.ts";
import { createTgiProbe, isTgi } from "./probe.ts";

/** Hugging Face's TGI, over its own HTTP. */
export const tgiDriver = httpDriver({
  dialect: Dialect.TGI,
  connect: (target) => connectionTo(target),
  detect: isTgi,
  probeOf: createTgiProbe,
  generate: startGeneration,
  unaryOf: (connection, target) => ({
    countTokens: (attempt, signal) => judged(attempt, target, () => countAtTgi(connection, target, attempt, signal)),
  }),
});
