import { expect, test } from "vitest";
import { createLog } from "../../../services/runtime/telemetry/log.ts";

function logged(write: (log: ReturnType<typeof createLog>) => void): string {
  let text = "";
  write(createLog("info", { write: (line) => void (text += line) }));
  return text;
}

test("a line is one JSON object, whatever its fields hold", () => {
  const text = logged((log) => log.info({ model: 'a\n{"level":"error"}\u001b[31m\r' }, "request"));
  expect(text.trimEnd().split(/[\n\r]/)).toHaveLength(1);
  expect(text).not.toContain("\u001b");
  expect(JSON.parse(text)).toMatchObject({
    level: "info",
    message: "request",
    model: 'a\n{"level":"error"}\u001b[31m\r',
  });
});

test.each([
  [{ authorization: "Bearer s3cret" }],
  [{ headers: { authorization: "Bearer s3cret" } }],
  [{ request: { body: { prompt: "s3cret" } } }],
  [{ key: { secret: "s3cret" } }],
])("a secret member is not printed: %j", (fields) => {
  expect(logged((log) => log.info(fields, "request"))).not.toContain("s3cret");
});

test("of an error its kind, words and frames are printed, and nothing that a library added", () => {
  const cause = Object.assign(new RangeError("inner"), { parameters: ["s3cret"], detail: "s3cret" });
  const err = Object.assign(new TypeError("outer", { cause }), { code: "23505", query: "s3cret" });
  const text = logged((log) => log.error({ err }, "call failed unexpectedly"));
  expect(text).not.toContain("s3cret");
  expect(JSON.parse(text)).toMatchObject({
    err: { type: "TypeError", message: "outer", code: "23505", cause: { type: "RangeError", message: "inner" } },
  });
});

test("what did not parse is not quoted", () => {
  const text = logged((log) => {
    try {
      JSON.parse("s3cret of a tenant");
    } catch (err) {
      log.error({ err }, "call failed unexpectedly");
    }
  });
  expect(text).toContain("SyntaxError");
  expect(text).not.toContain("s3cret");
});

test("lines below the level are not printed", () => {
  expect(logged((log) => log.debug("detail"))).toBe("");
});
