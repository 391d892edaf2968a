import { describe, expect, test } from "vitest";
import type { ChoiceForm } from "../../../../services/router/form/choice-form.ts";
import { JsonForm } from "../../../../services/router/form/json-form.ts";
import { OneOfForm } from "../../../../services/router/form/one-of-form.ts";

const object = () => new JsonForm({ object: true, alone: true, judge: undefined });
const anything = () => new JsonForm({ object: false, alone: true, judge: undefined });
const beside = () => new JsonForm({ object: true, alone: false, judge: undefined });
const oneOf = (...texts: string[]) => new OneOfForm(texts);

/** What is passed on of a text in pieces, and what is found wrong with it. */
async function held(form: ChoiceForm, pieces: Iterable<string>): Promise<readonly [string, string | undefined]> {
  let text = "";
  for (const piece of pieces) text += form.push(piece);
  const problem = form.problem ?? (await form.verdict());
  return [problem === undefined ? text + form.flush() : text, problem];
}

describe("a JSON object alone", () => {
  test.each([
    ["as it is", '{"a": [1, "}"]}', '{"a": [1, "}"]}'],
    ["with white space around it", '\n {"a":1}\n\n', '{"a":1}'],
    ["in a fence", '```json\n{"a":1}\n```', '{"a":1}'],
    ["in a fence with more after it", ' ```\r\n{"a":1}\n```\nThat is all.', '{"a":1}'],
    ["with talk after it", '{"a":1} I hope this helps.', '{"a":1}'],
    ["with another after it", '{"a":1}{"b":2}', '{"a":1}'],
  ])("%s, however it is cut", async (_name, text, passed) => {
    expect(await held(object(), [text])).toEqual([passed, undefined]);
    expect(await held(object(), text)).toEqual([passed, undefined]);
    for (let at = 1; at < text.length; at += 1)
      expect(await held(object(), [text.slice(0, at), text.slice(at)])).toEqual([passed, undefined]);
  });

  test.each([
    ["talk", "Sure! {}", "it is no JSON object"],
    ["an array", "[1]", "it is no JSON object"],
    ["a word", "null", "it is no JSON object"],
    ["nothing", " \n", "it holds no JSON value"],
    ["a fence alone", "```json\n", "it holds no JSON value"],
    ["half an object", '{"a": 1', "it ends inside a JSON value"],
    ["a line break in a string", '{"a": "x\ny"}', "it is no JSON"],
    ["a comment", "{ // no\n}", "it is no JSON"],
    ["two fences", "```json\n```json\n{}", "it is no JSON object"],
    ["code in a line", "`{}`", "it is no JSON object"],
  ])("%s is none", async (_name, text, problem) => {
    expect((await held(object(), [text]))[1]).toBe(problem);
    expect((await held(object(), text))[1]).toBe(problem);
  });

  test("it is over when more comes than white space and the end of a fence", () => {
    const form = object();
    const overAt = ["{}", "\n", "```", "\n", "That"].map((piece) => {
      form.push(piece);
      return form.over;
    });
    expect(overAt).toEqual([false, false, false, false, true]);
    const looping = object();
    looping.push("{}");
    for (let line = 0; line < 70 && !looping.over; line += 1) looping.push("\n");
    expect(looping.over).toBe(true);
  });
});

test("white space and nothing else is given up after 1,024 characters", () => {
  for (const form of [object(), oneOf("yes")]) {
    for (let line = 0; line < 1_024; line += 1) form.push("\n");
    expect(form.problem).toBeUndefined();
    form.push("\n");
    expect(form.problem).toBeDefined();
  }
  const after = oneOf("yes");
  after.push("yes");
  for (let line = 0; line < 1_025; line += 1) after.push("\n");
  expect(after.problem).toBeDefined();
});

test("any JSON value alone", async () => {
  for (const text of ["12", "-0.5", "true", '"x"', "[]", "{}"]) {
    expect(await held(anything(), text)).toEqual([text, undefined]);
    expect(await held(anything(), [`${text} and more`])).toEqual([text, undefined]);
  }
  expect((await held(anything(), "12."))[1]).toBe("it ends inside a JSON value");
});

test("beside functions the text is passed on as it is, and nothing else may be in it", async () => {
  expect(await held(beside(), ' {"a":1}\n')).toEqual([' {"a":1}\n', undefined]);
  expect(await held(beside(), "I look.")).toEqual(["I look.", "it is no JSON object"]);
  expect(await held(beside(), "```json\n{}\n```")).toEqual(["```json\n{}\n```", "it is no JSON object"]);
  expect((await held(beside(), "{} Yes."))[1]).toBe("something follows the JSON value");
});

test("a text that is judged is the value, whole", async () => {
  const judged: string[] = [];
  const judge = async (json: string) => (judged.push(json), undefined);
  const form = new JsonForm({ object: false, alone: true, judge });
  expect(await held(form, '```json\n{"a": "水"}\n```')).toEqual(['{"a": "水"}', undefined]);
  expect(judged).toEqual(['{"a": "水"}']);
  const long = new JsonForm({ object: false, alone: true, judge });
  expect((await held(long, ['"', "x".repeat(5_000_000), '"']))[1]).toBe("it is longer than 4194304 characters");
});

describe("one of some texts", () => {
  test("is passed on when it is whole, as it was given", async () => {
    for (const text of ["yes", " yes\n", "no"]) {
      const form = oneOf("yes", "no", "no way");
      expect([...text].map((piece) => form.push(piece)).join("")).toBe("");
      expect(await held(form, [])).toEqual([text.trim(), undefined]);
    }
    expect(await held(oneOf(" yes", "no"), ["yes"])).toEqual([" yes", undefined]);
    expect(await held(oneOf("no", "no way"), ["no", " ", "way"])).toEqual(["no way", undefined]);
  });

  test("is given up as soon as it can be none", async () => {
    const form = oneOf("yes", "no");
    form.push("y");
    expect(form.problem).toBeUndefined();
    form.push("ep");
    expect(form.problem).toBe("it is none of the choices");
    expect((await held(oneOf("yes", "no"), ["Yes"]))[1]).toBe("it is none of the choices");
    expect((await held(oneOf("yes", "no"), ["ye"]))[1]).toBe("it is none of the choices");
    expect((await held(oneOf("yes", "no"), ["yes, because"]))[1]).toBe("it is none of the choices");
    expect((await held(oneOf("yes"), []))[1]).toBe("it is none of the choices");
  });
});
