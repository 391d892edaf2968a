import { createContextKey, type HandlerContext } from "@connectrpc/connect";
import { Audience } from "../../../gen/ts/weir/policy/v1/policy_pb.ts";
import { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import { fail, WeirError } from "../errors/fail.ts";
import { systemIds } from "../ids.ts";
import { credentialFrom, queryHasKey } from "../identity/credentials.ts";
import type { Identity } from "../identity/identity.ts";
import { serves } from "../policy/listener.ts";
import type { MethodEntry } from "./descriptor.ts";
import { handlerHeaders, readMeshHeaders } from "./mesh-headers.ts";
import type { CallOrigin } from "./running-call.ts";

/** The caller's network address, which the server sets for every request: bad credentials count against it. */
export const callerAddress = createContextKey("", { description: "the caller's network address" });

/** How callers of a listener are known. */
export interface ListenerTrust {
  /** The listener's audience. */
  readonly audience: Audience;
  readonly identity: Identity;
  /** What peers present on the mesh listener. */
  readonly meshToken: string;
}

/** What is known of a call from its headers alone; a refusal is a value. */
export async function wireOrigin(
  entry: MethodEntry,
  context: HandlerContext,
  trust: ListenerTrust,
): Promise<CallOrigin | WeirError> {
  // Without a policy nobody is authenticated for it: the gate refuses.
  if (entry.policy === undefined) return originFrom(context, trust.audience, {});
  if (!serves(trust.audience, entry.policy.audience)) return fail(ErrorReason.WRONG_LISTENER, { method: entry.name });
  if (trust.audience === Audience.MESH) {
    const told = readMeshHeaders(context.requestHeader, trust.meshToken);
    return told instanceof WeirError ? told : originFrom(context, trust.audience, told);
  }
  const credential = credentialFrom(context.requestHeader, queryHasKey(new URL(context.url).search));
  if (credential instanceof WeirError) return credential;
  const principal = await trust.identity.authenticate(credential, context.values.get(callerAddress));
  return principal instanceof WeirError ? principal : originFrom(context, trust.audience, { principal });
}

function originFrom(
  context: HandlerContext,
  audience: Audience,
  told: Partial<Pick<CallOrigin, "principal" | "requestId" | "trusted">>,
): CallOrigin {
  return {
    audience,
    principal: told.principal,
    requestId: told.requestId ?? systemIds.uuidv7(),
    timeoutMs: context.timeoutMs() ?? Number.POSITIVE_INFINITY,
    callerSignal: context.signal,
    trusted: told.trusted ?? false,
    sentHeaders: () => handlerHeaders(context.requestHeader),
    answerHeaders: () => context.responseHeader,
  };
}
