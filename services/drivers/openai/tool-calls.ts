import type { ToolCallFragment } from "../../../gen/ts/weir/router/v1/event_pb.ts";
import { isObject, type JsonObject } from "../http/json.ts";

/** The most calls in one choice: SDKs refuse more. */
const callsMax = 128;

/**
 * The function calls of one choice. It makes of each server's fragments what SDKs want: an index always, id and name in a
 * call's first fragment and never again.
 */
export class ToolCalls {
  /** By the index that we tell: whether its id and name were told. */
  readonly #told: { id: boolean; name: boolean }[] = [];

  read(fragments: readonly unknown[]): ToolCallFragment[] {
    return fragments.filter(isObject).flatMap((raw) => this.#fragment(raw));
  }

  #fragment(raw: JsonObject): ToolCallFragment[] {
    const called = isObject(raw["function"]) ? raw["function"] : {};
    const id = typeof raw["id"] === "string" ? raw["id"] : "";
    const index = this.#place(raw["index"], id);
    if (index < 0 || index >= callsMax) return [];
    const told = (this.#told[index] ??= { id: false, name: false });
    const name = typeof called["name"] === "string" ? called["name"] : "";
    const fragment: ToolCallFragment = {
      $typeName: "weir.router.v1.ToolCallFragment",
      index,
      id: told.id ? "" : id,
      name: told.name ? "" : name,
      arguments: argumentsOf(called["arguments"]),
    };
    told.id ||= id !== "";
    told.name ||= name !== "";
    return [fragment];
  }

  /** Servers that send whole calls leave the index out: an id begins the next call, no id continues the last one. */
  #place(index: unknown, id: string): number {
    if (typeof index === "number" && Number.isInteger(index)) return index;
    return id === "" ? Math.max(0, this.#told.length - 1) : this.#told.length;
  }
}

/** Text as it should be, or the object that some servers send instead. */
function argumentsOf(raw: unknown): string {
  if (typeof raw === "string") return raw;
  return isObject(raw) ? JSON.stringify(raw) : "";
}
