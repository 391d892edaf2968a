import { spawnSync } from "node:child_process";

/** Whether this user may have a disk of a fixed size: root, with mount namespaces. */
export const smallDisks = spawnSync("unshare", ["-m", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]).status === 0;

/**
 * Runs the command that follows in a mount namespace of its own, where a folder is a disk of this size. Only that process
 * and its children see it, and it goes with them.
 */
export function onSmallDisk(folder: string, size: string): readonly string[] {
  return ["unshare", "-m", "sh", "-c", 'mount -t tmpfs -o "size=$1" tmpfs "$0" && shift && exec "$@"', folder, size];
}

/** Gives the disk another size, from outside. */
export function resizeDisk(pid: number, folder: string, size: string): void {
  const { status, stderr } = spawnSync("nsenter", [
    "-t",
    String(pid),
    "-m",
    "mount",
    "-o",
    `remount,size=${size}`,
    folder,
  ]);
  if (status !== 0) throw new Error(`the disk has its former size: ${String(stderr)}`);
}

/** Where others find a folder of that process. */
export function seenBy(pid: number, folder: string): string {
  return `/proc/${pid}/root${folder}`;
}
