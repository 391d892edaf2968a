import { expect, test } from "vitest";
import { Operation } from "../../../gen/ts/weir/quota/v1/limit_pb.ts";
import { createLimitBook, type Owners } from "../../../services/quota/limit-book.ts";
import { limitOf } from "../../fakes/limits.ts";

const consumer: Owners = { orgId: "acme", projectId: "acme-one", userId: "ada", keyId: "key1" };
const generate = { consumer, model: "qwen-2", operation: Operation.GENERATE };

const subject = (kind: string, id = "") => ({ subject: { kind: `SUBJECT_KIND_${kind}`, ...(id ? { id } : {}) } });

function bookOf(...limits: ReturnType<typeof limitOf>[]) {
  const book = createLimitBook();
  book.learn({ revision: 1n, changes: limits.map((limit) => ({ limit, deleted: false })) }, false);
  return book;
}

const idsOf = (limits: Iterable<{ readonly id: string }>) => Array.from(limits, ({ id }) => id);

test("a request is counted by the limits of everything that it belongs to, the widest first", () => {
  const book = bookOf(
    limitOf("key", subject("KEY", "key1")),
    limitOf("user", subject("USER", "ada")),
    limitOf("project", subject("PROJECT", "acme-one")),
    limitOf("org", subject("ORG", "acme")),
    limitOf("all", subject("INSTALLATION")),
    limitOf("key2", subject("KEY", "key2")),
    limitOf("project2", subject("PROJECT", "acme-two")),
    limitOf("org2", subject("ORG", "umbrella")),
  );
  expect(idsOf(book.applying(generate))).toEqual(["all", "org", "project", "user", "key"]);
  const other = { orgId: "umbrella", projectId: "umbrella-one", userId: "", keyId: "" };
  expect(idsOf(book.applying({ ...generate, consumer: other }))).toEqual(["all", "org2"]);
});

test("ids of different kinds of subjects do not meet", () => {
  const book = bookOf(limitOf("project", subject("PROJECT", "same")), limitOf("key", subject("KEY", "same")));
  const named = (over: Partial<Owners>) => ({ ...generate, consumer: { ...consumer, ...over } });
  expect(idsOf(book.applying(named({ projectId: "same" })))).toEqual(["project"]);
  expect(idsOf(book.applying(named({ keyId: "same", userId: "same", orgId: "same" })))).toEqual(["key"]);
});

test("a limit on a user counts that user's requests in its own organisation only", () => {
  const book = bookOf(
    limitOf("acme's", subject("USER", "ada")),
    limitOf("theirs", subject("USER", "ada"), 1n, "umbrella"),
  );
  expect(idsOf(book.applying(generate))).toEqual(["acme's"]);
});

test.each([
  [[], "qwen-2", true],
  [["qwen-2"], "qwen-2", true],
  [["qwen-2"], "qwen-25", false],
  [["qwen-*"], "qwen-2", true],
  [["qwen-*"], "qwen", false],
  [["llama", "qwen-*"], "qwen-", true],
  [["llama"], "qwen-2", false],
  [["qwen-*"], "", true],
])("a limit on the models %j counts %j: %j", (models, model, counts) => {
  expect(bookOf(limitOf("it", { models })).applying({ ...generate, model })).toHaveLength(counts ? 1 : 0);
});

test.each([
  [[], Operation.EMBED, true],
  [["OPERATION_GENERATE"], Operation.EMBED, false],
  [["OPERATION_GENERATE", "OPERATION_EMBED"], Operation.EMBED, true],
  [["OPERATION_GENERATE"], Operation.UNSPECIFIED, true],
])("a limit on the operations %j counts %j: %j", (operations, operation, counts) => {
  expect(bookOf(limitOf("it", { operations })).applying({ ...generate, operation })).toHaveLength(counts ? 1 : 0);
});

test("a newer version replaces an older one, wherever it moved, and an older one nothing", () => {
  const book = bookOf(limitOf("it", {}, 5n));
  const newer = limitOf("it", { ...subject("KEY", "key1"), models: ["other"] }, 7n);
  expect(book.learn({ revision: 7n, changes: [{ limit: newer, deleted: false }] }, false)).toHaveLength(1);
  expect(book.applying(generate)).toEqual([]);
  expect(idsOf(book.applying({ ...generate, model: "other" }))).toEqual(["it"]);
  expect(book.learn({ revision: 7n, changes: [{ limit: limitOf("it", {}, 6n), deleted: false }] }, false)).toEqual([]);
  expect(book.get("it")).toBe(newer);
  expect(book.revision).toBe(7n);
});

test("a deleted limit is gone, and told once", () => {
  const book = bookOf(limitOf("it"));
  const deletion = { revision: 2n, changes: [{ limit: limitOf("it", {}, 2n), deleted: true }] };
  expect(book.learn(deletion, false)).toEqual(deletion.changes);
  expect(book.learn(deletion, false)).toEqual([]);
  expect([book.size, book.applying(generate)]).toEqual([0, []]);
});

test("what a reading of everything does not name is gone, and an older version counts again", () => {
  const book = bookOf(limitOf("kept", {}, 8n), limitOf("lost", {}, 9n));
  const news = book.learn({ revision: 4n, changes: [{ limit: limitOf("kept", {}, 3n), deleted: false }] }, true);
  expect(news.map(({ limit, deleted }) => [limit.id, deleted])).toEqual([
    ["lost", true],
    ["kept", false],
  ]);
  expect([idsOf(book.all()), book.get("kept")?.revision, book.revision]).toEqual([["kept"], 3n, 4n]);
});
