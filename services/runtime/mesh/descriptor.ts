import type { DescMessage, DescMethod, Message, MessageInitShape } from "@bufbuild/protobuf";
import { type MethodPolicy, methodPolicy } from "../policy/method-policy.ts";
import type { CallContext } from "./context.ts";
import type { PushHandler } from "./push.ts";

type MessageInit = MessageInitShape<DescMessage>;

/** How a registered method is run, whatever it was written as. */
export type MethodHandler =
  | {
      readonly kind: "unary";
      readonly run: (request: Message, context: CallContext) => MessageInit | Promise<MessageInit>;
    }
  | {
      readonly kind: "server_streaming";
      readonly run: PushHandler<Message, Message>;
      /** Messages that a consumer who pulls may have waiting. */
      readonly pendingMax: number;
    };

/** One method as it is served: compiled when its service is registered, read at every call. */
export interface MethodEntry {
  readonly method: DescMethod;
  /** "weir.auth.v1.KeyService/CreateKey": how errors, logs and metrics name it. */
  readonly name: string;
  /** Undefined: it declares none, and every call is refused. */
  readonly policy: MethodPolicy | undefined;
  /** Undefined: the service does not implement it. */
  readonly handler: MethodHandler | undefined;
}

/** Compiles a method. Throws if its policy cannot be enforced. */
export function methodEntry(method: DescMethod, handler: MethodHandler | undefined): MethodEntry {
  return { method, name: `${method.parent.typeName}/${method.name}`, policy: methodPolicy(method), handler };
}
