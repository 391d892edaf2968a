import { join } from "node:path";
import type { Logger } from "pino";
import { Reach } from "../../gen/ts/weir/auth/v1/principal_pb.ts";
import { readIfThere, writeDurably } from "../runtime/durable-file.ts";
import { keyIdFrom } from "../runtime/identity/key-format.ts";
import { makeCredential } from "./key-material.ts";
import type { Peppers } from "./pepper.ts";
import type { InstallationStore } from "./store.ts";

/*
 * The first start writes a key to `admin.key` and then makes the store know it: a crash in between leaves a file whose
 * key the next start makes known. Afterwards the file is only read. If it is gone, or holds another key, nothing is
 * made: whoever can start the process should not find a new administrator by accident. An empty file asks for one.
 */

/** Where the installation's first key is. */
export interface AdminKey {
  /** Absolute. It need not exist any more. */
  readonly file: string;
  /** The key, if it was made just now. */
  readonly made: string | undefined;
}

export interface BootstrapOptions {
  readonly store: InstallationStore;
  readonly peppers: Peppers;
  /** Absolute. */
  readonly dataDir: string;
  readonly randomBytes: (length: number) => Uint8Array;
  readonly log: Logger;
}

/** Makes organisation and project `default` and a key for everything, once an installation. */
export async function bootstrap(options: BootstrapOptions): Promise<AdminKey> {
  const { store, log } = options;
  const file = join(options.dataDir, "admin.key");
  const written = (await readIfThere(file))?.trim();
  const kept = await store.firstKeyId();
  const asked = written === "";
  if (kept !== undefined && !asked) {
    reportMissing(log, file, kept, written);
    return { file, made: undefined };
  }
  const { id, key } = await credentialIn(file, written, options);
  const first = await store.keepFirstKey({ ...adminSpec, ...options.peppers.proofOf(key), id }, asked);
  if (!first.made) {
    // Another process of the installation was faster, with a key of its own.
    reportMissing(log, file, first.keyId, key);
    return { file, made: undefined };
  }
  log.info({ file, key_id: id }, "an admin key was made");
  return { file, made: key };
}

const adminSpec = {
  name: "admin",
  reach: Reach.INSTALLATION,
  permissions: ["*"],
  models: { all: true, names: [] },
  startMs: undefined,
  expireMs: undefined,
  labels: {},
};

/** The file's key, or a new one that the file then holds. */
async function credentialIn(
  file: string,
  written: string | undefined,
  options: BootstrapOptions,
): Promise<{ id: string; key: string }> {
  if (written) {
    const id = keyIdFrom(written);
    if (id === undefined) throw new Error(`${file} holds no key; remove it to have one made`);
    return { id, key: written };
  }
  const made = makeCredential(options.randomBytes);
  await writeDurably(file, `${made.key}\n`, 0o600);
  return made;
}

function reportMissing(log: Logger, file: string, keyId: string, written: string | undefined): void {
  const facts = { file, key_id: keyId };
  if (written === undefined) {
    log.warn(
      facts,
      "the file of the admin key is gone; the key still works. To have another made, put an empty file there",
    );
  } else if (keyIdFrom(written) !== keyId) {
    log.warn(facts, "the file of the admin key holds another key. To have a new one made, empty it");
  }
}
