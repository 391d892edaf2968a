import { Dialect } from "../../gen/ts/weir/catalog/v1/replica_pb.ts";
import type { GenerateResponse } from "../../gen/ts/weir/router/v1/inference_service_pb.ts";
import type { Attempt, Driver, ProbeResult } from "../../services/drivers/driver.ts";
import type { WeirError } from "../../services/runtime/errors/fail.ts";
import type { Sink } from "../../services/runtime/mesh/push.ts";

/** One try as the driver was given it, and the way to answer it by hand. */
export interface ScriptedTry {
  readonly attempt: Attempt;
  readonly sink: Sink<GenerateResponse>;
  /** Every cancel that reached the engine. */
  readonly cancels: WeirError[];
}

/** A driver that does what a test says: it hands every try out, and may answer it before `generate` returns. */
export class ScriptedDriver implements Driver {
  readonly dialect: Dialect;
  readonly tries: ScriptedTry[] = [];
  /** Answers each try while it starts. */
  onTry: ((one: ScriptedTry) => void) | undefined;
  onProbe: (signal: AbortSignal) => Promise<ProbeResult>;
  disposed = false;

  constructor(dialect: Dialect = Dialect.OPENAI) {
    this.dialect = dialect;
    this.onProbe = () => Promise.reject(new Error("no probe was scripted"));
  }

  /** The newest try. */
  get last(): ScriptedTry {
    const last = this.tries.at(-1);
    if (!last) throw new Error("nothing was tried");
    return last;
  }

  generate(attempt: Attempt, sink: Sink<GenerateResponse>) {
    const one: ScriptedTry = { attempt, sink, cancels: [] };
    this.tries.push(one);
    this.onTry?.(one);
    return (reason: WeirError) => void one.cancels.push(reason);
  }

  probe(signal: AbortSignal): Promise<ProbeResult> {
    return this.onProbe(signal);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.disposed = true;
  }
}
