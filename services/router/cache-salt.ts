import { createHmac } from "node:crypto";
import { LRUCache } from "lru-cache";

/** Projects whose salts are kept: about 1 MB. */
const projectsMax = 10_000;

/**
 * What separates a project in engines' prefix caches: the same for all its requests on all routers, and not to be
 * guessed by another project. 43 URL-safe characters.
 *
 * @param secret the installation's own for this purpose.
 */
export function createCacheSalts(secret: Uint8Array): (projectId: string) => string {
  const known = new LRUCache<string, string>({ max: projectsMax });
  return (projectId) => {
    const found = known.get(projectId);
    if (found !== undefined) return found;
    const salt = createHmac("sha256", secret).update(projectId).digest("base64url");
    known.set(projectId, salt);
    return salt;
  };
}
