import type { DescMethod, DescService } from "@bufbuild/protobuf";
import { MethodOptions_IdempotencyLevel as Idempotency } from "@bufbuild/protobuf/wkt";
import { KeyService } from "../../gen/ts/weir/auth/v1/key_service_pb.ts";
import { ErrorReason } from "../../gen/ts/weir/error/v1/error_pb.ts";
import { fail, type WeirError } from "../runtime/errors/fail.ts";
import type { CallContext } from "../runtime/mesh/context.ts";
import type { ServiceImplementation } from "../runtime/mesh/registry.ts";
import { Turns } from "../runtime/turns.ts";

/** Calls that read, at once: most of the process's connections are left to others. */
const readingLanes = 3;
/** Writes wait for one another in any case. Here they do so without a connection of the database each. */
const writingLanes = 1;
/**
 * What takes access away has a lane and a line of its own: whoever holds a stolen key that may write keys could fill any
 * line that is bounded by project, and so keep the key's owner from withdrawing it.
 */
const withdrawingLanes = 1;
const withdrawing: ReadonlySet<DescMethod> = new Set([KeyService.method.revokeKey]);

/** How many calls may wait. */
export interface WaitingMax {
  /** Of one key. */
  readonly key: number;
  readonly project: number;
  readonly org: number;
}

/**
 * Some milliseconds each, so that all of a project are done well before their deadline. A key leaves room for others of
 * its project, and an organisation gains no more by having many projects.
 */
const waitingMax: WaitingMax = { key: 16, project: 64, org: 256 };
const withdrawingMax: WaitingMax = { key: 16, project: Infinity, org: Infinity };
/** As long as a full line takes. */
const retryAfterMs = 1_000;

/** What a lane needs to know of a call. */
type Caller = Pick<CallContext, "principal" | "signal">;

/**
 * Runs work, as much at a time as there are lanes; of what waits, the projects that call take turns, and within a project
 * its keys.
 */
export interface AdminLanes {
  /**
   * What was given up while it waited is not begun.
   *
   * @throws OVERLOADED if too much of the caller's key, project or organisation waits already.
   */
  run<T>(caller: Caller, work: () => Promise<T>): Promise<T>;
}

/** Builds lanes that are all free. */
export function createAdminLanes(lanes: number, max: WaitingMax): AdminLanes {
  const line = createLine();
  /** How many wait, of each key, project and organisation. */
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
    const { keyId: key = "", projectId: project = "", orgId: org = "" } = principal ?? {};
    const bounds = [
      [`key ${key}`, max.key],
      [`project ${project}`, max.project],
      [`organisation ${org}`, max.org],
    ] as const;
    for (const [name, most] of bounds) if ((waiting.get(name) ?? 0) >= most) throw overloaded(most);
    for (const [name] of bounds) count(name, 1);
    return new Promise((resolve) => {
      const begin = () => {
        for (const [name] of bounds) count(name, -1);
        resolve();
      };
      line.add({ project, key, begin });
    });
  };

  // Whoever leaves hands its lane over.
  const leave = (): void => {
    const next = line.take();
    if (next === undefined) busy -= 1;
    else next.begin();
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

interface Waiting {
  readonly project: string;
  readonly key: string;
  begin(): void;
}

/** What waits: projects take turns, and keys take their project's. */
function createLine() {
  const projects = new Turns<Waiting>();
  const keysOf = new Map<string, Turns<Waiting>>();
  return {
    add(waiting: Waiting): void {
      projects.add(waiting.project, waiting);
      const keys = keysOf.get(waiting.project) ?? new Turns<Waiting>();
      keysOf.set(waiting.project, keys);
      keys.add(waiting.key, waiting);
    },
    take(): Waiting | undefined {
      // It tells whose turn it is, no more: which of the project's calls that is, its keys tell.
      const turn = projects.take();
      const keys = turn && keysOf.get(turn.project);
      const next = keys?.take();
      if (turn && keys?.empty) keysOf.delete(turn.project);
      return next;
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
  const reading = createAdminLanes(readingLanes, waitingMax);
  const writing = createAdminLanes(writingLanes, waitingMax);
  const revoking = createAdminLanes(withdrawingLanes, withdrawingMax);
  const lanesOf = (method: DescMethod): AdminLanes => {
    if (withdrawing.has(method)) return revoking;
    return method.idempotency === Idempotency.NO_SIDE_EFFECTS ? reading : writing;
  };
  return (service, handlers) => {
    const bounded = { ...handlers };
    for (const method of service.methods) {
      const lanes = lanesOf(method);
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
