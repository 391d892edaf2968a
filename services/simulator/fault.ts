/** What goes wrong with a request, on command. */
export interface Fault {
  readonly kind: FaultKind;
  /** Tokens that are produced before it. */
  readonly after: number;
  /** Of a delay, or between the tokens of a drip, in milliseconds. */
  readonly ms: number;
}

/**
 * - `delay`: the token comes `ms` later.
 * - `hang`: nothing more comes, and the connection stays open.
 * - `drip`: from there on a token comes every `ms` only.
 * - `cut`: the connection is reset.
 * - `early_end`: the answer ends well without having finished.
 * - `error`: the engine says that it failed, in its protocol's way.
 * - `reject`: the engine refuses the request before it starts, as when its queue is full.
 * - `crash`: the whole simulator ends, as by kill -9.
 */
export type FaultKind = (typeof faultKinds)[number];

export const faultKinds = ["delay", "hang", "drip", "cut", "early_end", "error", "reject", "crash"] as const;

/** A command in a prompt. */
const command = /\[\[sim ([a-z_]+)((?: [a-z]+=\d+)*)\]\]/;

/**
 * Reads a command from a prompt: `[[sim cut after=3]]`, `[[sim delay after=0 ms=500]]`. Texts without one, or with one
 * that is not known, command nothing.
 */
export function faultFrom(prompt: string): Fault | undefined {
  const match = command.exec(prompt);
  const kind = faultKinds.find((each) => each === match?.[1]);
  if (kind === undefined) return undefined;
  const numbers = new Map(
    (match?.[2] ?? "")
      .trim()
      .split(" ")
      .map((pair) => pair.split("="))
      .map(([name, value]) => [name, Number(value)]),
  );
  return { kind, after: numbers.get("after") ?? 0, ms: numbers.get("ms") ?? 1_000 };
}

/** Reads from a prompt after how many tokens its text ends by itself: `[[sim length=600]]`. */
export function lengthFrom(prompt: string): number | undefined {
  const match = /\[\[sim length=(\d{1,6})\]\]/.exec(prompt);
  return match ? Math.max(1, Number(match[1])) : undefined;
}

/**
 * What an engine may answer wrongly where it has one answer: a vector of another length, one with a value that is not a
 * number, an answer too few.
 */
export type Lie = (typeof lies)[number];

const lies = ["wrong_dims", "nan", "miscount"] as const;

/** Reads a lie from a text: `[[sim nan]]`. */
export function lieFrom(text: string): Lie | undefined {
  const match = /\[\[sim ([a-z_]+)\]\]/.exec(text);
  return lies.find((each) => each === match?.[1]);
}

/** Faults as JSON, one or a list of them; undefined if they are none. */
export function faultsFrom(json: unknown): Fault[] | undefined {
  const given: unknown[] = Array.isArray(json) ? json : [json];
  const faults = given.map(faultFromJson).filter((fault) => fault !== undefined);
  return faults.length === given.length ? faults : undefined;
}

function faultFromJson(json: unknown): Fault | undefined {
  if (typeof json !== "object" || json === null) return undefined;
  const { kind: name, after = 0, ms = 1_000 }: { kind?: unknown; after?: unknown; ms?: unknown } = json;
  const kind = faultKinds.find((each) => each === name);
  if (kind === undefined || typeof after !== "number" || typeof ms !== "number") return undefined;
  return { kind, after, ms };
}
