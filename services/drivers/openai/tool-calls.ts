import type { ToolCallFragment } from "../../../gen/ts/weir/router/v1/event_pb.ts";
import type { IdSource } from "../../runtime/ids.ts";
import { isObject, type JsonObject } from "../http/json.ts";

/** The most calls in one choice: SDKs refuse more. */
const callsMax = 128;

/** A call as far as it was read. It is told once it has a name. */
interface Call {
  /** Which one it is to the caller; -1: it was not told yet. */
  index: number;
  /** The server's; "": it has told none. */
  id: string;
  name: string;
  arguments: string;
}

/**
 * The function calls of one choice. It makes of each server's fragments what SDKs want: an index always, id and name in a
 * call's first fragment and never again. Of a server that gives no id, the id is ours.
 */
export class ToolCalls {
  readonly #ids: Pick<IdSource, "short">;
  /** The newest call at each of the server's places. */
  readonly #calls = new Map<number, Call>();
  #lastPlace = 0;
  #told = 0;

  constructor(ids: Pick<IdSource, "short">) {
    this.#ids = ids;
  }

  /** @param whole whether these are all calls of the choice, each of them whole. */
  read(fragments: readonly unknown[], whole: boolean): ToolCallFragment[] {
    return fragments.flatMap((raw, position) => (isObject(raw) ? this.#fragment(raw, position, whole) : []));
  }

  #fragment(raw: JsonObject, position: number, whole: boolean): ToolCallFragment[] {
    const called = isObject(raw["function"]) ? raw["function"] : {};
    const id = textOf(raw["id"]);
    const name = textOf(called["name"]);
    const place = whole ? position : this.#place(raw["index"], id, position > 0 && name !== "");
    if (place < 0 || place >= callsMax) return [];
    this.#lastPlace = place;
    let call = this.#calls.get(place);
    if (!call || begins(call, id, name)) {
      call = { index: -1, id, name, arguments: "" };
      this.#calls.set(place, call);
    }
    call.id ||= id;
    call.name ||= name;
    const args = argumentsOf(called["arguments"]);
    call.arguments += args;
    if (call.name === "") return [];
    if (call.index >= 0) return [fragment({ index: call.index, id: "", name: "", arguments: args })];
    if (this.#told === callsMax) return [];
    call.index = this.#told++;
    call.id ||= `call_${this.#ids.short(24)}`;
    return [fragment(call)];
  }

  /** Servers that send whole calls leave the index out: an id begins the next call, no id continues the last one. */
  #place(index: unknown, id: string, isAnother: boolean): number {
    if (typeof index === "number" && Number.isInteger(index)) return index;
    const next = this.#calls.size;
    const last = this.#calls.get(this.#lastPlace);
    return isAnother || !last || (id !== "" && id !== last.id) ? next : this.#lastPlace;
  }
}

/**
 * Whether a fragment is of another call than the one at its place: servers give several calls one place. Some others
 * repeat the name of a call, and even change its id, while its arguments go on.
 */
function begins(call: Call, id: string, name: string): boolean {
  if (name === "" || call.name === "" || (id !== "" && id === call.id)) return false;
  if (name !== call.name) return true;
  return call.arguments === "" ? id !== "" : isWhole(call.arguments);
}

function isWhole(json: string): boolean {
  // Nearly all that is not whole is seen at its end.
  if (!json.trimEnd().endsWith("}")) return false;
  try {
    JSON.parse(json);
    return true;
  } catch {
    // It goes on.
    return false;
  }
}

function fragment({ index, id, name, arguments: args }: Call): ToolCallFragment {
  return { $typeName: "weir.router.v1.ToolCallFragment", index, id, name, arguments: args };
}

function textOf(value: unknown): string {
  return typeof value === "string" ? value : "";
}

/** Text as it should be, or the object that some servers send instead. */
function argumentsOf(raw: unknown): string {
  if (typeof raw === "string") return raw;
  return isObject(raw) ? JSON.stringify(raw) : "";
}
