import { chmod, mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

/**
 * A temporary folder that every user may enter: as root, PostgreSQL runs as another user, and a cluster in a folder of
 * mode 0700 would be placed elsewhere on the machine and outlive the test.
 */
export async function openFolder(prefix: string): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), prefix));
  await chmod(folder, 0o755);
  return folder;
}
