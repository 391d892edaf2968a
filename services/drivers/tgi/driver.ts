import { Dialect } from "../../../gen/ts/weir/catalog/v1/replica_pb.ts";
import { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import { fail, weirErrorFrom } from "../../runtime/errors/fail.ts";
import type { Driver, DriverKind, Target } from "../driver.ts";
import { connectionTo } from "../http/connection.ts";
import { judged } from "../unary.ts";
import { countAtTgi } from "./counting.ts";
import { startGeneration } from "./generation.ts";
import { createTgiProbe, isTgi } from "./probe.ts";

/** Hugging Face's TGI, over its own HTTP. */
export const tgiDriver: DriverKind = {
  dialect: Dialect.TGI,
  async detect(target, signal) {
    if (!/^https?:/.test(target.url)) throw fail(ErrorReason.ENGINE_UNAVAILABLE);
    await using connection = connectionTo(target);
    return await isTgi(connection, signal);
  },
  open: openTgi,
};

function openTgi(target: Target): Driver {
  const connection = connectionTo(target);
  return {
    dialect: Dialect.TGI,
    generate(attempt, sink) {
      try {
        return startGeneration(connection, target, attempt, sink);
      } catch (thrown) {
        sink.fail(weirErrorFrom(thrown));
        return () => undefined;
      }
    },
    countTokens: (attempt, signal) => judged(attempt, target, () => countAtTgi(connection, target, attempt, signal)),
    probe: createTgiProbe(connection),
    [Symbol.asyncDispose]: () => connection[Symbol.asyncDispose](),
  };
}
