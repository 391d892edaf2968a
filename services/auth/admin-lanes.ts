import type { DescMethod, DescService } from "@bufbuild/protobuf";
import { MethodOptions_IdempotencyLevel as Idempotency } from "@bufbuild/protobuf/wkt";
import { ErrorReason } from "../../gen/ts/weir/error/v1/error_pb.ts";
import { fail, type WeirError } from "../runtime/errors/fail.ts";
import type { CallContext } from "../runtime/mesh/context.ts";
import type { ServiceImplementation } from "../runtime/mesh/registry.ts";
import { Turns } from "../runtime/turns.ts";

/** Calls that read, at once: most of the process's connections are left to others. */
const readingLanes = 3;
/** Writes wait for one another in any case. Here they do so without a connection of the database each. */
const writingLanes = 1;
/** Calls of a project that may wait: some milliseconds each, so that all are done well before their deadline. */
const projectWaitingMax = 64;
/** Of an organisation, so that it gains no more by having many projects. */
const orgWaitingMax = 256;
/** As long as a full line takes. */
const retryAfterMs = 1_000;

/** What a lane needs to know of a call. */
type Caller = Pick<CallContext, "principal" | "signal">;

/** Runs work, as much at a time as there are lanes; of what waits, the projects that call take turns. */
export interface AdminLanes {
  /**
   * What was given up while it waited is not begun.
   *
   * @throws OVERLOADED if too much of the caller's project or organisation waits already.
   */
  run<T>(caller: Caller, work: () => Promise<T>): Promise<T>;
}

/** Builds lanes that are all free. */
export function createAdminLanes(lanes: number): AdminLanes {
  const turns = new Turns<() => void>();
  /** How many wait, of each project and organisation. */
  const waiting = new Map<string, number>();
  let busy = 0;

  const count = (name: string, by: number): void => {
    const left = (waiting.get(name) ?? 0) + by;
    if (left === 0) waiting.delete(name);
    else waiting.set(name, left);
  };

  const enter = ({ principal }: Caller): Promise<void> => {
    if (busy < lanes) {
      busy += 1;
      return Promise.resolve();
    }
    const project = `project ${principal?.projectId ?? ""}`;
    const org = `organisation ${principal?.orgId ?? ""}`;
    if ((waiting.get(project) ?? 0) >= projectWaitingMax) throw overloaded(projectWaitingMax);
    if ((waiting.get(org) ?? 0) >= orgWaitingMax) throw overloaded(orgWaitingMax);
    for (const name of [project, org]) count(name, 1);
    return new Promise((resolve) => {
      turns.add(project, () => {
        for (const name of [project, org]) count(name, -1);
        resolve();
      });
    });
  };

  // Whoever leaves hands its lane over.
  const leave = (): void => {
    const next = turns.take();
    if (next === undefined) busy -= 1;
    else next();
  };

  return {
    async run(caller, work) {
      await enter(caller);
      try {
        caller.signal.throwIfAborted();
        return await work();
      } finally {
        leave();
      }
    },
  };
}

/**
 * The handlers of services that tenants administer themselves by, in lanes: what one tenant asks for takes neither the
 * database from the data path nor its turn from another tenant. One function, so that its services share the lanes.
 */
export function adminLanes(): <S extends DescService>(
  service: S,
  handlers: ServiceImplementation<S>,
) => ServiceImplementation<S> {
  const [reading, writing] = [createAdminLanes(readingLanes), createAdminLanes(writingLanes)];
  return (service, handlers) => {
    const bounded = { ...handlers };
    for (const method of service.methods) {
      const lanes = method.idempotency === Idempotency.NO_SIDE_EFFECTS ? reading : writing;
      const handle = handlerOf(method, handlers);
      Reflect.set(bounded, method.localName, (request: unknown, context: CallContext) =>
        lanes.run(context, async () => handle(request, context)),
      );
    }
    return bounded;
  };
}

/** What stands under a method's name was checked by ServiceImplementation. */
function handlerOf(method: DescMethod, handlers: object): (request: unknown, context: CallContext) => unknown {
  const written: unknown = Reflect.get(handlers, method.localName);
  if (!isHandler(written)) throw new Error(`${method.parent.typeName}.${method.name} has no handler`);
  return written;
}

function isHandler(value: unknown): value is (request: unknown, context: CallContext) => unknown {
  return typeof value === "function";
}

function overloaded(limit: number): WeirError {
  const facts = { limit: String(limit), retry_after_ms: String(retryAfterMs) };
  return fail(ErrorReason.OVERLOADED, facts, { retryAfterMs });
}
