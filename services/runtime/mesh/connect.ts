import type { DescMethod, DescMethodServerStreaming, DescMethodUnary, Message } from "@bufbuild/protobuf";
import { createContextKey, type ConnectRouter, type HandlerContext } from "@connectrpc/connect";
import { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import { fail, WeirError } from "../errors/fail.ts";
import { systemIds } from "../ids.ts";
import type { MethodEntry } from "./descriptor.ts";
import { pendingMaxOf } from "./direct.ts";
import type { Gate } from "./gate.ts";
import { pullFromPush } from "./push-to-iterable.ts";
import type { Registry } from "./registry.ts";
import type { RunningCall } from "./running-call.ts";
import { type ListenerTrust, wireOrigin } from "./wire-origin.ts";

/** How a listener serves the registry. */
export interface RouteOptions extends ListenerTrust {
  readonly registry: Registry;
  readonly gate: Gate;
  /** The longest request message; a longer one is refused while it is read. */
  readonly readMaxBytes: number;
}

/** The longest deadline that a caller may name: a timer cannot be set for longer. The method's own is shorter. */
const timeoutMaxMs = 2 ** 31 - 1;

/** The call that was admitted by its headers, on its way to its handler. */
const admitted = createContextKey<RunningCall | undefined>(undefined, { description: "the admitted call" });

/** The services of this process as routes of connect-es, for Connect, gRPC and gRPC-Web. */
export function connectRoutes(options: RouteOptions): (router: ConnectRouter) => void {
  return (router) => {
    for (const { methods } of options.registry.services()) {
      for (const entry of methods) addRoute(router, entry, options);
    }
  };
}

function addRoute(router: ConnectRouter, entry: MethodEntry, options: RouteOptions): void {
  const { gate, readMaxBytes } = options;
  const { method } = entry;
  const limits = {
    readMaxBytes,
    maxTimeoutMs: timeoutMaxMs,
    requestGate: (context: HandlerContext) => admit(entry, context, options),
  };
  if (isUnary(method)) {
    router.rpc(method, (request, context) => gate.unary(callOf(context), request), limits);
  } else if (isServerStreaming(method)) {
    const pendingMax = pendingMaxOf(entry);
    router.rpc(
      method,
      (request, context) => pullFromPush<Message>((sink) => gate.push(callOf(context), request, sink), pendingMax),
      limits,
    );
  }
}

async function admit(entry: MethodEntry, context: HandlerContext, options: RouteOptions): Promise<void> {
  const origin = await wireOrigin(entry, context, options);
  // A refusal has an id to quote as well.
  const requestId = origin instanceof WeirError ? systemIds.uuidv7() : origin.requestId;
  context.responseHeader.set("x-request-id", requestId);
  if (origin instanceof WeirError) throw options.gate.refuse(entry, origin);
  const call = options.gate.admit(entry, origin);
  if (call instanceof WeirError) throw call;
  context.values.set(admitted, call);
}

function callOf(context: HandlerContext): RunningCall {
  const call = context.values.get(admitted);
  if (call === undefined) throw fail(ErrorReason.INTERNAL);
  return call;
}

function isUnary(method: DescMethod): method is DescMethodUnary {
  return method.methodKind === "unary";
}

function isServerStreaming(method: DescMethod): method is DescMethodServerStreaming {
  return method.methodKind === "server_streaming";
}
