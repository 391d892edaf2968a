import type { Client } from "@connectrpc/connect";
import { LRUCache } from "lru-cache";
import type { AuthService } from "../../../gen/ts/weir/auth/v1/auth_service_pb.ts";
import { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import { weirErrorFrom } from "../errors/fail.ts";

/** Whose projects are: asked where a caller names another project than its own. */
export interface ProjectOwners {
  /**
   * The organisation of a project; undefined if there is no such project.
   *
   * @throws SERVICE_UNAVAILABLE or STORE_UNAVAILABLE, when that cannot be told now.
   */
  orgOf(projectId: string): Promise<string | undefined>;
}

/** Projects that are remembered: they never change hands. Those that do not exist are not, for they may come. */
const rememberedMax = 10_000;

/** Asks the auth service, once for a project. */
export function createProjectOwners(auth: Pick<Client<typeof AuthService>, "resolveProject">): ProjectOwners {
  const known = new LRUCache<string, string>({ max: rememberedMax });
  return {
    async orgOf(projectId) {
      const remembered = known.get(projectId);
      if (remembered !== undefined) return remembered;
      try {
        const { orgId } = await auth.resolveProject({ projectId });
        known.set(projectId, orgId);
        return orgId;
      } catch (thrown) {
        const error = weirErrorFrom(thrown);
        const none = error.reason === ErrorReason.NOT_FOUND || error.reason === ErrorReason.INVALID_ARGUMENT;
        if (none) return undefined;
        throw error;
      }
    },
  };
}
