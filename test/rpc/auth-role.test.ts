import { copyFile, mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { create } from "@bufbuild/protobuf";
import { type Kysely, sql } from "kysely";
import { afterEach, beforeEach, expect, test } from "vitest";
import { KeyService } from "../../gen/ts/weir/auth/v1/key_service_pb.ts";
import { type Principal, Reach } from "../../gen/ts/weir/auth/v1/principal_pb.ts";
import { ConfigSchema } from "../../gen/ts/weir/config/v1/config_pb.ts";
import type { AuthTables } from "../../services/auth/store-postgres.ts";
import { role as authRole } from "../../services/auth/role.ts";
import { type Assembled, assemble } from "../../services/runtime/assemble.ts";
import { systemClock } from "../../services/runtime/clock.ts";
import { resolveSettings } from "../../services/runtime/config/resolve.ts";
import { ErrorReason } from "../../gen/ts/weir/error/v1/error_pb.ts";
import { WeirError } from "../../services/runtime/errors/fail.ts";
import { formatKey } from "../../services/runtime/identity/key-format.ts";
import { withCallOptions } from "../../services/runtime/mesh/call-options.ts";
import { createLog } from "../../services/runtime/telemetry/log.ts";
import { createTestDatabase, type TestDatabase } from "../fakes/postgres.ts";
import { present } from "../fakes/present.ts";

let database: TestDatabase;
let dataDir: string;
let lines: string;
const adminFile = () => join(dataDir, "admin.key");

beforeEach(async () => {
  database = await createTestDatabase();
  dataDir = await mkdtemp(join(tmpdir(), "weir-auth-"));
  lines = "";
});

afterEach(async () => {
  await rm(dataDir, { recursive: true, force: true });
  await database[Symbol.asyncDispose]();
});

/** One life of a process that runs the role. */
async function life<T>(live: (process: Assembled) => Promise<T>, dir = dataDir): Promise<T> {
  await using process = new AsyncDisposableStack();
  const config = create(ConfigSchema, { postgres: { url: database.url } });
  const say = ({ path, message }: { path: string; message: string }) => expect.fail(`${path}: ${message}`);
  const settings = resolveSettings(config, { folder: dir, dataDir: dir, say });
  const log = createLog("info", { write: (line) => void (lines += line) });
  const assembled = process.use(await assemble({ settings, clock: systemClock, log }));
  process.use(await authRole.start(assembled.runtime));
  assembled.watchKeys();
  return await live(assembled);
}

async function whoIs({ runtime }: Assembled, key: string): Promise<Principal> {
  const answer = await runtime.identity.authenticate(key, "192.0.2.1");
  if (answer instanceof WeirError) throw answer;
  return answer;
}

const adminKey = async (process: Assembled) => process.adminKey?.key;

test("the first start makes an admin key and says where it is", async () => {
  await life(async (process) => {
    const key = (await readFile(adminFile(), "utf8")).trim();
    expect(process.adminKey).toEqual({ file: adminFile(), key });
    expect((await stat(adminFile())).mode & 0o777).toBe(0o600);
    expect((await stat(join(dataDir, "pepper"))).mode & 0o777).toBe(0o600);
    expect(await whoIs(process, key)).toMatchObject({
      orgId: "default",
      projectId: "default",
      reach: Reach.INSTALLATION,
      permissions: ["*"],
      models: { all: true },
    });
    expect(lines).not.toContain(key);
  });
});

test("a later start keeps everything", async () => {
  const first = await life(adminKey);
  const made = await life(async (process) => {
    expect(process.adminKey).toEqual({ file: adminFile(), key: undefined });
    const admin = await whoIs(process, first ?? "");
    const keys = process.runtime.mesh.client(KeyService);
    return keys.createKey({ requestId: "r", name: "k" }, withCallOptions({ principal: admin }));
  });
  await life(async (process) => {
    expect((await whoIs(process, made.secret)).keyId).toBe(made.key?.id);
    expect((await whoIs(process, first ?? "")).permissions).toEqual(["*"]);
  });
  expect(lines).not.toMatch(/"level":"(warn|error)"/);
});

test("a lost file is told, and no administrator is made unasked", async () => {
  const first = await life(adminKey);
  await rm(adminFile());
  await life(async (process) => {
    expect(process.adminKey?.key).toBeUndefined();
    await expect(stat(adminFile())).rejects.toThrow("ENOENT");
    expect(lines).toContain("the file of the admin key is gone");
    expect((await whoIs(process, first ?? "")).permissions).toEqual(["*"]);
  });
  await writeFile(adminFile(), `${formatKey("another00000", "0".repeat(30))}\n`);
  await life(async (process) => expect(process.adminKey?.key).toBeUndefined());
  expect(lines).toContain("the file of the admin key holds another key");
});

test("an empty file asks for another admin key", async () => {
  const first = await life(adminKey);
  await writeFile(adminFile(), "");
  const second = await life(async (process) => {
    expect((await whoIs(process, first ?? "")).permissions).toEqual(["*"]);
    return process.adminKey?.key;
  });
  expect(second).not.toBe(first);
  await life(async (process) => {
    expect(process.adminKey?.key).toBeUndefined();
    expect((await whoIs(process, second ?? "")).permissions).toEqual(["*"]);
  });
  expect((await stat(adminFile())).mode & 0o777).toBe(0o600);
});

test("a start that died between the file and the store is made good by the next one", async () => {
  const key = formatKey("written00000", "s".repeat(30));
  await writeFile(adminFile(), `${key}\n`, { mode: 0o600 });
  await life(async (process) => {
    expect((await whoIs(process, key)).keyId).toBe("written00000");
    expect(process.adminKey).toEqual({ file: adminFile(), key });
  });
});

test("a file that holds no key stops the first start and says what to do", async () => {
  await writeFile(adminFile(), "hello\n");
  await expect(life(adminKey)).rejects.toThrow("holds no key; remove it to have one made");
});

test("another pepper than the keys' own stops the start and says what to do", async () => {
  await life(adminKey);
  await rm(join(dataDir, "pepper"));
  await expect(life(adminKey)).rejects.toThrow(/pepper 1 in the pepper file is not the one.*Restore the file/);
});

test("a pepper is replaced by appending one", async () => {
  const first = await life(adminKey);
  const file = join(dataDir, "pepper");
  await writeFile(file, `${await readFile(file, "utf8")}${"n".repeat(43)}\n`);
  await life(async (process) => expect((await whoIs(process, first ?? "")).permissions).toEqual(["*"]));
});

test("a key of a pepper that a process has not read is no bad key there, and its pepper file is told to be behind", async () => {
  const file = join(dataDir, "pepper");
  await life(async (behind) => {
    const before = await readFile(file, "utf8");
    const admin = await whoIs(behind, behind.adminKey?.key ?? "");
    const other = await mkdtemp(join(tmpdir(), "weir-auth-"));
    await writeFile(join(other, "pepper"), `${before}${"n".repeat(43)}\n`);
    await copyFile(adminFile(), join(other, "admin.key"));
    const made = await life(async (ahead) => {
      const keys = ahead.runtime.mesh.client(KeyService);
      return keys.createKey({ requestId: "r", name: "k" }, withCallOptions({ principal: admin }));
    }, other);
    for (let n = 0; n < 2; n++) {
      await expect(whoIs(behind, made.secret)).rejects.toMatchObject({ reason: ErrorReason.AUTH_UNAVAILABLE });
    }
    await rm(other, { recursive: true, force: true });
  });
  expect(lines.match(/give it the pepper file that the others have/g)).toHaveLength(1);
});

test("writers that wait for the lock keep nobody from being known, and no reader waiting", async () => {
  const db = database.kysely<AuthTables>();
  await life(async (process) => {
    const admin = await whoIs(process, process.adminKey?.key ?? "");
    const keys = process.runtime.mesh.client(KeyService);
    const asAdmin = withCallOptions({ principal: admin });
    const { secret } = await keys.createKey({ requestId: "r", name: "k" }, asAdmin);
    const { holding, over } = await holdLock(db);
    const writing = Promise.all(
      Array.from({ length: 16 }, (_, n) => keys.createKey({ requestId: `r${n}`, name: "k" }, asAdmin)),
    );
    try {
      // One of them waits within the database.
      await expect.poll(() => waitingFor(db)).toBe(1);
      expect((await whoIs(process, secret)).projectId).toBe("default");
      expect((await keys.listKeys({}, asAdmin)).keys).toHaveLength(2);
      expect(await waitingFor(db)).toBe(1);
    } finally {
      over.resolve();
      await Promise.allSettled([holding, writing]);
    }
    await writing;
  });
});

test("keys that flood their project with writes are revoked meanwhile", async () => {
  const db = database.kysely<AuthTables>();
  await life(async (process) => {
    const admin = await whoIs(process, process.adminKey?.key ?? "");
    const keys = process.runtime.mesh.client(KeyService);
    const asAdmin = withCallOptions({ principal: admin });
    const permissions = ["keys.write"];
    const make = async (requestId: string) => {
      const { secret } = await keys.createKey({ requestId, name: "k", permissions }, asAdmin);
      return whoIs(process, secret);
    };
    const [owners, ...stolen] = await Promise.all(["o", "s1", "s2", "s3", "s4", "s5"].map(make));
    const { holding, over } = await holdLock(db);
    let written = 0;
    const flood = stolen.flatMap((principal, thief) =>
      Array.from({ length: 20 }, async (_, n) => {
        const requestId = `flood${thief}-${n}`;
        await keys.createKey({ requestId, name: "k", permissions }, withCallOptions({ principal }));
        written += 1;
      }),
    );
    const flooded = Promise.allSettled(flood);
    try {
      await expect.poll(() => waitingFor(db)).toBe(1);
      const asOwner = withCallOptions({ principal: present(owners) });
      const revoking = Promise.all(stolen.map(({ keyId }) => keys.revokeKey({ keyId }, asOwner)));
      over.resolve();
      expect((await revoking).every(({ key }) => key?.revokeTime !== undefined)).toBe(true);
      // For each revocation about one of the writes that had come before.
      expect(written).toBeLessThan(20);
    } finally {
      over.resolve();
      await Promise.allSettled([holding, flooded]);
    }
  });
});

/** Takes the lock of all writes, and keeps it until `over`. */
async function holdLock(db: Kysely<AuthTables>) {
  const held = Promise.withResolvers<void>();
  const over = Promise.withResolvers<void>();
  const holding = db.transaction().execute(async (trx) => {
    await sql`select pg_advisory_xact_lock(${0x7765697261757468n})`.execute(trx);
    held.resolve();
    await over.promise;
  });
  await held.promise;
  return { holding, over };
}

/** How many sessions wait for a lock. */
async function waitingFor(db: Kysely<AuthTables>): Promise<number> {
  const { rows } = await sql<{ n: number }>`
    select count(*)::int as n from pg_locks
    where locktype = 'advisory' and not granted and database = (select oid from pg_database where datname = current_database())
  `.execute(db);
  return rows[0]?.n ?? 0;
}
