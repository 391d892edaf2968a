import type {
  DescMessage,
  DescMethod,
  DescMethodServerStreaming,
  DescMethodUnary,
  DescService,
  Message,
  MessageInitShape,
  MessageShape,
} from "@bufbuild/protobuf";
import type { CallContext } from "./context.ts";
import { type MethodEntry, type MethodHandler, methodEntry } from "./descriptor.ts";
import { type Pushed, type PushHandler, isPushed } from "./push.ts";
import { pushFromGenerator } from "./push-from-generator.ts";

/** A unary method: takes a message and answers with one. What it throws becomes the call's error. */
export type UnaryHandler<I extends DescMessage, O extends DescMessage> = (
  request: MessageShape<I>,
  context: CallContext,
) => Promise<MessageInitShape<O>> | MessageInitShape<O>;

/** A server-streaming method written as an async generator. Its `finally` runs also when the consumer leaves early. */
export type GeneratorHandler<I extends DescMessage, O extends DescMessage> = (
  request: MessageShape<I>,
  context: CallContext,
) => AsyncIterable<MessageInitShape<O>>;

/** One method's implementation. Methods with a stream of requests cannot be served: no contract of ours has one. */
export type MethodImplementation<M extends DescMethod> =
  M extends DescMethodUnary<infer I, infer O>
    ? UnaryHandler<I, O>
    : M extends DescMethodServerStreaming<infer I, infer O>
      ? GeneratorHandler<I, O> | Pushed<MessageShape<I>, MessageShape<O>>
      : never;

/** All methods of a service, by their names in TypeScript. */
export type ServiceImplementation<S extends DescService> = {
  readonly [P in keyof S["method"]]: MethodImplementation<S["method"][P]>;
};

/** The services of this process. */
export interface Registry {
  /** Offers a service. Throws if it is there already, or if a method's policy cannot be enforced. */
  add<S extends DescService>(service: S, implementation: ServiceImplementation<S>): void;
  /** The method as it is served here; undefined if its service is not. */
  find(method: DescMethod): MethodEntry | undefined;
  /** Whether the service is served here. */
  has(service: DescService): boolean;
  /** Everything that is served here. */
  services(): readonly RegisteredService[];
}

/** A service with its compiled methods, in the contract's order. */
export interface RegisteredService {
  readonly service: DescService;
  readonly methods: readonly MethodEntry[];
}

/** Builds an empty registry. */
export function createRegistry(): Registry {
  const services = new Map<string, RegisteredService>();
  const entries = new Map<DescMethod, MethodEntry>();
  return {
    add(service, implementation) {
      if (services.has(service.typeName)) throw new Error(`${service.typeName} is registered twice`);
      const methods = service.methods.map((method) => methodEntry(method, handlerOf(method, implementation)));
      services.set(service.typeName, { service, methods });
      for (const entry of methods) entries.set(entry.method, entry);
    },
    find: (method) => entries.get(method),
    has: (service) => services.has(service.typeName),
    services: () => [...services.values()],
  };
}

function handlerOf(method: DescMethod, implementation: object): MethodHandler | undefined {
  const written: unknown = Reflect.get(implementation, method.localName);
  if (method.methodKind === "unary" && isUnary(written)) {
    return { kind: "unary", run: (request, context) => written.call(implementation, request, context) };
  }
  if (method.methodKind !== "server_streaming") return undefined;
  if (isPushed(written)) return { kind: "server_streaming", run: written.push, pendingMax: pushedPendingMax };
  if (!isGenerator(written)) return undefined;
  const run: PushHandler<Message, Message> = pushFromGenerator(method.output, (request, context) =>
    written.call(implementation, request, context),
  );
  return { kind: "server_streaming", run, pendingMax: 1 };
}

/** A pushed handler is asked once a turn whether it should pause: a turn's worth of messages fits. */
const pushedPendingMax = 64;

// What an implementation holds under a method's name was checked by ServiceImplementation; these name it again for the
// compiler, after the lookup by name.
function isUnary(
  value: unknown,
): value is (
  request: Message,
  context: CallContext,
) => MessageInitShape<DescMessage> | Promise<MessageInitShape<DescMessage>> {
  return typeof value === "function";
}

function isGenerator(
  value: unknown,
): value is (request: Message, context: CallContext) => AsyncIterable<Record<string, unknown>> {
  return typeof value === "function";
}
