import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { lockFile } from "../../runtime/file-lock.ts";
import { type Former, readFormer } from "./former.ts";
import { Journal, type JournalOptions, type Running } from "./journal.ts";

/** A journal, and what former processes left in it. */
export interface OpenedJournal<R extends Running> {
  readonly journal: Journal<R>;
  readonly former: Former;
}

/**
 * Takes a folder for the journal of this process alone, and reads what is in it. The hold ends with the process, however
 * it ends.
 *
 * @throws when another process has it, or it can't be used.
 */
export async function openJournal<R extends Running>(options: JournalOptions): Promise<OpenedJournal<R>> {
  const { folder } = options;
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const lock = lockFile(join(folder, "journal.lock"));
  if (lock === undefined) throw new Error(`another Weir uses the journal in ${folder}; name another usage.journal_dir`);
  try {
    const former = await readFormer(folder, options.trouble);
    const journal = new Journal<R>(options, lock, former.segments, former.numberMax);
    await journal.start();
    return { journal, former };
  } catch (error) {
    lock.release();
    throw error;
  }
}
