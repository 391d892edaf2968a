import type { Principal } from "../../gen/ts/weir/auth/v1/principal_pb.ts";
import { ErrorReason } from "../../gen/ts/weir/error/v1/error_pb.ts";
import { fail, WeirError } from "../runtime/errors/fail.ts";
import { judge, validityFrom } from "../runtime/identity/conditions.ts";
import { permitted } from "../runtime/policy/permission.ts";
import { type Grant, grantorFrom } from "./grants.ts";
import { principalFromStored } from "./key-message.ts";
import type { Writer } from "./store.ts";

/** What writing keys takes, as the contract of KeyService says. */
const permission = "keys.write";

/**
 * The caller as a grantor, at the moment of its write. Its process may remember its key as it was before it was revoked
 * or narrowed, for 2 s or as long as the watch is broken: a grant that was made in that time would stay.
 *
 * @throws KEY_REVOKED, KEY_EXPIRED, KEY_NOT_YET_VALID, PERMISSION_DENIED; CREDENTIAL_INVALID if there is no such key.
 */
export function grantorNow(caller: Principal | undefined, writer: Writer | undefined): Grant {
  // A process of the installation, in its own name.
  if (caller === undefined) return grantorFrom(undefined);
  if (writer === undefined) throw fail(ErrorReason.CREDENTIAL_INVALID);
  const { key, nowMs } = writer;
  if (key.revokeMs !== undefined) throw fail(ErrorReason.KEY_REVOKED, { key_id: key.id });
  const principal = principalFromStored(key);
  const judged = judge(principal, validityFrom(principal), nowMs);
  if (judged instanceof WeirError) throw judged;
  if (!permitted(judged, permission)) throw fail(ErrorReason.PERMISSION_DENIED, { permission });
  return grantorFrom(judged);
}
