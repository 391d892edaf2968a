import { describe, expect, it } from "vitest";
import type { Tool } from "../../../../gen/ts/weir/router/v1/message_pb.ts";
import { kindsOf } from "../../../../services/router/answer/json-kinds.ts";
import { offeredTools } from "../../../../services/router/answer/offered-tools.ts";

const longList = 10_000;

/** What of a list is read while something runs, in members. */
function readsOf(list: readonly unknown[], run: (counted: readonly unknown[]) => void): number {
  let reads = 0;
  const counted = new Proxy(list, {
    get(target, member, receiver) {
      if (typeof member === "string" && /^\d+$/.test(member)) reads += 1;
      return Reflect.get(target, member, receiver);
    },
  });
  run(counted);
  return reads;
}

function taking(parameters: object): Tool {
  const parametersJson = JSON.stringify(parameters);
  return { $typeName: "weir.router.v1.Tool", name: "f", description: "", parametersJson };
}

describe("the types that a schema allows", () => {
  it.each(["anyOf", "oneOf", "allOf"])("are not looked for in a long %s that refers to itself", (member) => {
    const reads = readsOf(Array(longList).fill({ $ref: "#" }), (list) => {
      const root = { properties: { a: { $ref: `#/${member}/0` } }, [member]: list };
      expect(kindsOf(root.properties.a, root)).toBeUndefined();
    });
    expect(reads).toBeLessThan(100);
  });

  it.each([
    ["type", "string"],
    ["enum", "red"],
  ])("are not looked for in a long %s, time and again", (member, value) => {
    const reads = readsOf(Array(longList).fill(value), (list) => {
      const root = { anyOf: Array(200).fill({ $ref: "#/$defs/long" }), $defs: { long: { [member]: list } } };
      expect(kindsOf(root, root)).toBeUndefined();
    });
    expect(reads).toBeLessThan(2_000);
  });

  it("are not looked for in lists of lists that are short, without end", () => {
    const reads = readsOf(Array(100).fill({ $ref: "#" }), (list) => {
      expect(kindsOf({ anyOf: list }, { anyOf: list })).toBeUndefined();
    });
    expect(reads).toBeLessThan(2_000);
  });

  it("are not looked for at the end of a long way", () => {
    const root = { a: "", type: "string" };
    expect(kindsOf({ $ref: `#${"/a".repeat(100_000)}`, type: "integer" }, root)).toEqual(new Set(["integer"]));
    expect(kindsOf({ $ref: "#/b/c", type: "integer" }, { b: { c: { type: ["integer", "null"] } } })).toEqual(
      new Set(["integer"]),
    );
  });

  it("are found in what many schemas say", () => {
    const colours = Array.from({ length: 400 }, (_, at) => `colour ${at}`);
    expect(kindsOf({ anyOf: [{ enum: colours }, { type: "null" }] }, {})).toEqual(new Set(["string", "null"]));
  });
});

describe("an argument of a function", () => {
  const nested = { type: "object", properties: { deep: { $ref: "#/$defs/x" } } };
  const parameters = { properties: { a: nested, b: { type: "string" } }, $defs: { x: { type: "integer" } } };

  it("has the types of its schema, and refers or not", () => {
    const tools = offeredTools([taking(parameters)]);
    expect(tools.kinds("f", "a")).toEqual(new Set(["object"]));
    expect([tools.refers("f", "a"), tools.refers("f", "b")]).toEqual([true, false]);
    expect([tools.kinds("f", "none"), tools.refers("f", "none")]).toEqual([undefined, false]);
    expect([tools.kinds("g", "a"), tools.refers("g", "a")]).toEqual([undefined, false]);
  });

  it("is looked up once, however often an answer gives it", () => {
    const tools = offeredTools([taking(parameters)]);
    expect(tools.kinds("f", "a")).toBe(tools.kinds("f", "a"));
  });

  it("costs next to nothing from the second time on", () => {
    const members = Object.fromEntries(Array.from({ length: 100_000 }, (_, at) => [`m${at}`, { title: "none" }]));
    const tools = offeredTools([taking({ properties: { a: { properties: members } } })]);
    const usedBy = (times: number) => {
      const before = process.threadCpuUsage().user;
      for (let time = 0; time < times; time++) tools.refers("f", "a");
      return process.threadCpuUsage().user - before;
    };
    const first = usedBy(1);
    expect(usedBy(200)).toBeLessThan(first);
  });
});
