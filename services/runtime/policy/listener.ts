import { Audience } from "../../../gen/ts/weir/policy/v1/policy_pb.ts";

/**
 * Whether a listener serves methods of an audience. The mesh serves all: a process of the installation may call what
 * its own tenants may, on their behalf.
 */
export function serves(listener: Audience, audience: Audience): boolean {
  return listener === audience || listener === Audience.MESH;
}
