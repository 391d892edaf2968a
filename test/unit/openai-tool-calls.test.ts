import { describe, expect, test } from "vitest";
import { ToolCalls } from "../../services/drivers/openai/tool-calls.ts";

/** What a server sends at once. */
interface Read {
  readonly fragments: readonly unknown[];
  /** It is all of an answer that was not streamed. */
  readonly whole: boolean;
}

describe("function calls", () => {
  const calls = (...fragments: unknown[]) => ({ fragments, whole: false });

  const whole = (...fragments: unknown[]) => ({ fragments, whole: true });
  const f = (args: string) => ({ function: { name: "f", arguments: args } });

  test.each<[string, Read[], unknown[]]>([
    [
      "of a whole answer, without indices and ids",
      [whole(f("{}"), { id: "", ...f("") }, { function: { name: "g" } })],
      [
        [0, "call_24-1", "f", "{}"],
        [1, "call_24-2", "f", ""],
        [2, "call_24-3", "g", ""],
      ],
    ],
    [
      "of a whole answer, all of one index",
      [whole({ index: 0, id: "a", ...f("{}") }, { index: 0, id: "b", ...f("{}") })],
      [
        [0, "a", "f", "{}"],
        [1, "b", "f", "{}"],
      ],
    ],
    [
      "in fragments without an id",
      [calls({ index: 0, ...f("") }), calls({ index: 0, function: { arguments: "{}" } })],
      [
        [0, "call_24-1", "f", ""],
        [0, "", "", "{}"],
      ],
    ],
    [
      "whole, in chunks without indices and ids",
      [
        calls(f("{}")),
        calls(f("{}"), f("")),
        calls({ function: { name: "g", arguments: "{" } }, { function: { arguments: "}" } }),
      ],
      [
        [0, "call_24-1", "f", "{}"],
        [1, "call_24-2", "f", "{}"],
        [2, "call_24-3", "f", ""],
        [3, "call_24-4", "g", "{"],
        [3, "", "", "}"],
      ],
    ],
    [
      "that all have one index",
      [
        calls({ index: 0, id: "a", ...f('{"x":') }),
        calls({ index: 0, function: { arguments: "1}" } }),
        calls({ index: 0, id: "b", ...f("") }),
        calls({ index: 0, id: "c", ...f("{}") }),
        calls({ index: 0, function: { name: "g", arguments: "{}" } }),
      ],
      [
        [0, "a", "f", '{"x":'],
        [0, "", "", "1}"],
        [1, "b", "f", ""],
        [2, "c", "f", "{}"],
        [3, "call_24-1", "g", "{}"],
      ],
    ],
    [
      "whose name is repeated with ids that change",
      [
        calls({ index: 0, id: "a", ...f('{"x":') }),
        calls({ index: 0, id: "b", ...f("{}") }),
        calls({ index: 0, id: "c", ...f("}") }),
      ],
      [
        [0, "a", "f", '{"x":'],
        [0, "", "", "{}"],
        [0, "", "", "}"],
      ],
    ],
    [
      "whose name comes later than the id, and arguments before it",
      [calls({ index: 0, id: "a", function: { arguments: "{" } }), calls({ index: 0, ...f("}") })],
      [[0, "a", "f", "{}"]],
    ],
    [
      "in fragments, two at a time",
      [
        calls({ index: 0, id: "a", type: "function", function: { name: "f", arguments: "" } }),
        calls({ index: 0, function: { arguments: "{" } }, { index: 1, id: "b", function: { name: "g" } }),
        calls({ index: 0, function: { arguments: "}" } }),
      ],
      [
        [0, "a", "f", ""],
        [0, "", "", "{"],
        [1, "b", "g", ""],
        [0, "", "", "}"],
      ],
    ],
    [
      "whose id and name are repeated",
      [
        calls({ index: 0, id: "a", function: { name: "f", arguments: "1" } }),
        calls({ index: 0, id: "a", function: { name: "f", arguments: "2" } }),
      ],
      [
        [0, "a", "f", "1"],
        [0, "", "", "2"],
      ],
    ],
    [
      "whole, without an index",
      [
        calls(
          { id: "a", function: { name: "f", arguments: "1" } },
          { id: "b", function: { name: "g", arguments: { x: 1 } } },
        ),
      ],
      [
        [0, "a", "f", "1"],
        [1, "b", "g", '{"x":1}'],
      ],
    ],
    ["with an index beyond all bounds", [calls({ index: 4_000, id: "a", function: { name: "f" } })], []],
    ["that are nonsense", [calls({ index: 0 }), calls("x"), calls(null)], []],
  ])("%s", (_, chunks, told) => {
    let ids = 0;
    const known = new ToolCalls({ short: (length) => `${length}-${++ids}` });
    const fragments = chunks.flatMap((one) => known.read(one.fragments, one.whole));
    expect(fragments.map(({ index, id, name, arguments: args }) => [index, id, name, args])).toEqual(told);
  });
});
