import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { expect, test } from "vitest";
import { readTree } from "../scripts/source-files.ts";
import { tidyProblems, tidyRules } from "../scripts/tidy-rules.ts";

const root = resolve(import.meta.dirname, "..");

test("the tree keeps the rules of the house", () => {
  const { files, emptyFolders } = readTree(root);
  expect(files.length).toBeGreaterThan(50);
  expect(tidyProblems(files, emptyFolders)).toEqual([]);
});

/** What breaks each rule, and what looks like it and does not: a path and a text. */
const samples: Readonly<Record<string, { bad: [string, string][]; good: [string, string][] }>> = {
  "a service imports no other service": {
    bad: [
      ["services/edge/role.ts", 'import { pick } from "../router/fleet/pick.ts";'],
      ["services/edge/openai/chat.ts", 'export { key } from "../../auth/key.ts";'],
      ["services/edge/role.ts", 'const auth = await import("../auth/role.ts");'],
      ["services/edge/role.ts", 'import {\n  dial,\n} from "../drivers/triton/dial.ts";'],
      ["services/runtime/server/app.ts", 'import type { Role } from "../../edge/role.ts";'],
      ["services/drivers/triton/driver.ts", 'import { pick } from "../../router/pick.ts";'],
    ],
    good: [
      ["services/edge/role.ts", 'import { fail } from "../runtime/errors/fail.ts";'],
      ["services/edge/openai/chat.ts", 'import { parse } from "../json/parse.ts";'],
      ["services/router/role.ts", 'import { dial } from "../drivers/triton/dial.ts";'],
      ["services/main.ts", 'import { role } from "./edge/role.ts";'],
      ["services/edge/role.ts", '// import { pick } from "../router/pick.ts";'],
    ],
  },
  "services import nothing that is not shipped": {
    bad: [["services/edge/role.ts", 'import { clock } from "../../test/fakes/clock.ts";']],
    good: [["services/edge/role.ts", 'import { Role } from "../../gen/ts/weir/router/v1/message_pb.ts";']],
  },
  "examples and clients stand outside": {
    bad: [
      ["examples/echo/role.ts", 'import { pick } from "../../services/router/pick.ts";'],
      ["clients/ts/client.ts", 'import { fail } from "../../services/runtime/errors/fail.ts";'],
    ],
    good: [["examples/echo/role.ts", 'import type { Role } from "../../services/runtime/role.ts";']],
  },
  "SQL stays in stores": {
    bad: [
      ["services/auth/service.ts", 'import pg from "pg";'],
      ["services/auth/store.ts", 'import type { Kysely } from "kysely";'],
      ["services/auth/migrate.ts", 'import { Migrator } from "kysely/migration";'],
    ],
    good: [
      ["services/auth/store-postgres.ts", 'import type { Kysely } from "kysely";'],
      ["services/auth/migrations/0001-keys.ts", 'import type { Kysely } from "kysely";'],
      ["services/runtime/postgres/pool.ts", 'import pg from "pg";'],
    ],
  },
  "one file reads the environment": {
    bad: [
      ["services/edge/role.ts", "const port = process.env.PORT;"],
      ["services/edge/role.ts", 'const { PORT } = process["env"];'],
      ["services/edge/role.ts", 'import { env } from "node:process";'],
    ],
    good: [["services/runtime/config/env.ts", "return process.env[name];"]],
  },
  "time and chance are handed in": {
    bad: [
      ["services/router/pick.ts", "const now = Date.now();"],
      ["services/router/pick.ts", "const now = new Date();"],
      ["services/router/pick.ts", "const now = performance.now();"],
      ["services/router/pick.ts", "const one = all[Math.floor(Math.random() * all.length)];"],
    ],
    good: [
      ["services/runtime/clock.ts", "nowMs: () => Date.now(),"],
      ["services/router/pick.ts", "const then = new Date(clock.nowMs());"],
      ["services/router/pick.ts", "const x = 1; // Date.now() would be wrong here"],
      ["services/router/pick.ts", "/**\n * Never Math.random().\n */"],
    ],
  },
  "an RPC's stream is read by withStream": {
    bad: [
      ["services/router/role.ts", "for await (const step of catalog.watch({}, { signal })) use(step);"],
      ["services/router/role.ts", "const steps = catalog.watch({});\nfor await (const step of steps) use(step);"],
    ],
    good: [
      ["services/runtime/mesh/stream.ts", "for await (const step of client.watch({})) use(step);"],
      [
        "services/router/role.ts",
        "await withStream(signal, open, async (steps) => {\n  for await (const s of steps) use(s);\n});",
      ],
      ["services/edge/body.ts", "for await (const chunk of request) size += chunk.length;"],
    ],
  },
  "a function is made before it is stored": {
    bad: [
      ["services/edge/role.ts", "exchange.onGone = () => answer.leave();"],
      ["services/edge/role.ts", "this.#onAbort = (error: Error): void => stop(error);"],
      ["services/edge/role.ts", "this.#look ??= async (at) => look(at);"],
      ["services/edge/role.ts", "sink.resume = function () { pull(); };"],
    ],
    good: [
      ["services/edge/role.ts", "const leave = (): void => answer.leave();\nexchange.onGone = leave;"],
      ["services/edge/role.ts", "readonly #look = (): void => this.look();"],
      ["services/edge/role.ts", "this.#stop = watch(() => answer.leave());"],
      ["services/edge/role.ts", "call({ resume: () => this.resume() });"],
    ],
  },
  "services log, and do not print": {
    bad: [
      ["services/edge/role.ts", "console.log(port);"],
      ["services/edge/role.ts", "process.stdout.write(line);"],
    ],
    good: [
      ["services/banner.ts", "console.log(banner);"],
      ["services/simulator/main.ts", "console.log(url);"],
      ["services/edge/role.ts", 'log.info({ port }, "listening");'],
    ],
  },
  "a file fits the eye": {
    bad: [["services/edge/role.ts", "x;\n".repeat(401)]],
    good: [
      ["services/edge/role.ts", "x;\n".repeat(400)],
      ["gen/ts/weir/x_pb.ts", "x;\n".repeat(500)],
    ],
  },
  "a file's name says what it holds": {
    bad: [
      ["services/edge/utils.ts", ""],
      ["services/edge/stream-helper.ts", ""],
      ["proto/weir/auth/v1/common.proto", ""],
    ],
    good: [
      ["services/runtime/data-dir.ts", ""],
      ["services/edge/information.ts", ""],
    ],
  },
  "nothing beside the repository is read": {
    bad: [["scripts/start.sh", "cat ../shared/notes.md"]],
    good: [["test/bench/traces.ts", 'const traces = "../shared/traces";']],
  },
  "fakes, not mocks": {
    bad: [
      ["test/unit/pick.test.ts", 'vi.mock("../../services/router/pick.ts");'],
      ["test/unit/pick.test.ts", "const called = vi.fn();"],
    ],
    good: [["test/unit/pick.test.ts", "await vi.waitFor(() => expect(done).toBe(true));"]],
  },
  "types are not forced": {
    bad: [
      ["services/edge/role.ts", "const role = value as unknown as Role;"],
      ["test/unit/pick.test.ts", "pick({} as any);"],
    ],
    good: [["services/edge/role.ts", "const role = value as Role;"]],
  },
  "nothing is put off": {
    bad: [["services/edge/role.ts", `// TO${"DO"}: count`]],
    good: [["services/edge/role.ts", "// To do this twice is harmless."]],
  },
};

test("every rule has a sample that breaks it", () => {
  expect(Object.keys(samples).sort()).toEqual(tidyRules.map((rule) => rule.name).sort());
});

const cases = Object.entries(samples).flatMap(([rule, { bad, good }]) => [
  ...bad.map(([path, text]) => ({ rule, path, text, breaks: true })),
  ...good.map(([path, text]) => ({ rule, path, text, breaks: false })),
]);

test.each(cases)("$rule: $path: $text breaks it: $breaks", ({ rule, path, text, breaks }) => {
  const broken = tidyProblems([{ path, text }], []).filter((problem) => problem.includes(`: ${rule}: `));
  expect(broken.length > 0).toBe(breaks);
});

test("a folder without a file is found", () => {
  const folder = mkdtempSync(join(tmpdir(), "weir-tidy-"));
  try {
    mkdirSync(join(folder, "services/edge/nothing"), { recursive: true });
    writeFileSync(join(folder, "services/edge/role.ts"), "");
    const { files, emptyFolders } = readTree(folder);
    expect(files.map(({ path }) => path)).toEqual(["services/edge/role.ts"]);
    expect(tidyProblems(files, emptyFolders)).toEqual([
      "services/edge/nothing/ is empty: a room appears when something lives in it",
    ]);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
