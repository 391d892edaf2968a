import { type CallWriter, nameMax } from "./call-writer.ts";
import type { GrowingText, Reading } from "./growing-text.ts";
import { jsonString, jsonStringContent, jsonValue } from "./json-text.ts";

/**
 * How reading a call went. `none`: it is none, and nothing was told of it. `broken`: it was told that it began, and then
 * came what can't belong to it, or nothing more.
 */
export type CallOutcome = "whole" | "none" | "broken";

/** Members that hold arguments: models mix up what their templates show. */
const argumentKeys: readonly string[] = ["arguments", "parameters"];

/**
 * Reads a call that is written as an object: {"name": ..., "arguments": {...}}, in any order. It is told once the name
 * is known and the arguments, or the object's end, are there.
 *
 * @param may which names are believed.
 */
export function* callObject(
  text: GrowingText,
  out: CallWriter,
  may: (name: string) => boolean = () => true,
): Reading<CallOutcome> {
  if (!(yield* text.accept("{"))) return "none";
  let name: string | undefined;
  /** Arguments that came before the name. */
  let early: string | undefined;
  let told = false;
  const begin = (known: string) => {
    out.call(known);
    text.release();
    told = true;
  };
  for (;;) {
    yield* text.space();
    if (yield* text.accept("}")) break;
    const key = yield* jsonString(text, nameMax);
    yield* text.space();
    if (key === undefined || !(yield* text.accept(":"))) return told ? "broken" : "none";
    yield* text.space();
    if (key === "name" && name === undefined) {
      name = yield* jsonString(text, nameMax);
      if (!name || !may(name)) return "none";
      if (early !== undefined) {
        begin(name);
        out.args(early);
      }
    } else if (argumentKeys.includes(key) && name !== undefined && !told) {
      begin(name);
      if (!(yield* callArguments(text, out.args))) return "broken";
    } else {
      const isEarly = argumentKeys.includes(key) && early === undefined && !told;
      let json = "";
      const keep = isEarly ? (piece: string) => void (json += piece) : () => {};
      const whole = isEarly ? yield* callArguments(text, keep) : yield* jsonValue(text, keep);
      if (!whole) return told ? "broken" : "none";
      if (isEarly) early = json;
    }
    yield* text.space();
    if (yield* text.accept(",")) continue;
    if (yield* text.accept("}")) break;
    return told ? "broken" : "none";
  }
  if (!told) {
    if (name === undefined) return "none";
    begin(name);
    out.args("{}");
  }
  return "whole";
}

/**
 * Reads arguments that are written as JSON, or as JSON in a string, and tells them as JSON.
 *
 * @returns whether they are whole.
 */
export function* callArguments(text: GrowingText, tell: (json: string) => void): Reading<boolean> {
  if ((yield* text.peek()) === '"') return yield* jsonStringContent(text, tell);
  if (yield* text.accept("null")) {
    tell("{}");
    return true;
  }
  return yield* jsonValue(text, tell);
}
