import type { Traced } from "../../fakes/record-tail.ts";
import { type Row, type Sight, type Truth, tryOf } from "./truth.ts";

/** Everything that is known of one request. */
export interface Joined {
  readonly requestId: string;
  readonly row: Row | undefined;
  readonly sight: Sight | undefined;
  /** What engines recorded of it, in the order of its tries. */
  readonly traces: readonly Traced[];
}

/** Requests, and what could not be brought together. */
export interface Join {
  readonly requests: readonly Joined[];
  /** Clients whose request neither an engine nor the ledger knows. */
  readonly unknown: readonly Sight[];
  /** Rows that tell of a client's request beside another row that does, or disagree with what the client was told. */
  readonly conflicts: readonly string[];
  /** Ids in engines' records that are no request's. */
  readonly strangers: readonly string[];
}

/** Looks for what breaks one promise. Returns a line for each break; none: the promise was kept. */
export type Checker = (truth: Truth, joined: Join) => readonly string[];

/**
 * Brings together what is known of each request. Engine and ledger know it by its id. A client that got the answer's head
 * knows it too. The others have keys of their own, and prompts whose length tells their requests apart in the engines'
 * records; what no engine heard of is told by its key and model.
 */
export function join({ sights, traces, ledger }: Truth): Join {
  const conflicts: string[] = [];
  const strangers: string[] = [];
  const byRequest = new Map<string, Traced[]>();
  for (const trace of traces) {
    const found = tryOf(trace);
    if (found === undefined) strangers.push(trace.id);
    else byRequest.set(found.requestId, [...(byRequest.get(found.requestId) ?? []), trace]);
  }
  const rows = new Map<string, Row>();
  for (const row of ledger.rows) {
    if (rows.has(row.requestId)) conflicts.push(`two rows have the id ${row.requestId}`);
    rows.set(row.requestId, row);
  }
  const matcher = new Matcher(sights);
  const ids = [...new Set([...rows.keys(), ...byRequest.keys()])].sort();
  // Those that are told by more come first, so that they are not taken for others.
  const told = ids.map((requestId) => ({
    requestId,
    row: rows.get(requestId),
    traces: byRequest.get(requestId) ?? [],
  }));
  const found = new Map<string, Sight | undefined>();
  for (const { requestId } of told) found.set(requestId, matcher.byId(requestId));
  for (const one of told)
    found.set(one.requestId, found.get(one.requestId) ?? matcher.byPrompt(one.row, one.traces[0]));
  for (const one of told) found.set(one.requestId, found.get(one.requestId) ?? matcher.byKey(one.row, one.traces));
  const requests = told.map((one): Joined => {
    const sight = found.get(one.requestId);
    if (sight && one.row && (sight.model !== one.row.requestedModel || sight.keyId !== one.row.keyId))
      conflicts.push(`${one.requestId} is of ${one.row.keyId} for ${one.row.requestedModel}, and its client's is not`);
    const number = (trace: Traced) => tryOf(trace)?.number ?? 0;
    return { ...one, sight, traces: one.traces.toSorted((a, b) => number(a) - number(b)) };
  });
  return { requests, unknown: matcher.rest(), conflicts, strangers };
}

/** Gives each client's request away once. */
class Matcher {
  readonly #ids = new Map<string, Sight>();
  /** By key: those that were not told an id, in the order in which they were sent. */
  readonly #nameless = new Map<string, Sight[]>();

  constructor(sights: readonly Sight[]) {
    for (const sight of sights.toSorted((a, b) => a.sentMs - b.sentMs)) {
      if (sight.requestId === undefined) this.#namelessOf(sight.keyId).push(sight);
      else this.#ids.set(sight.requestId, sight);
    }
  }

  byId(requestId: string): Sight | undefined {
    const sight = this.#ids.get(requestId);
    this.#ids.delete(requestId);
    return sight;
  }

  byPrompt(row: Row | undefined, trace: Traced | undefined): Sight | undefined {
    if (trace === undefined) return undefined;
    return this.#take(row, ({ promptTokens }) => promptTokens === trace.promptTokens);
  }

  byKey(row: Row | undefined, traces: readonly Traced[]): Sight | undefined {
    return traces.length > 0 ? undefined : this.#take(row, () => true);
  }

  rest(): Sight[] {
    return [...this.#ids.values(), ...[...this.#nameless.values()].flat()];
  }

  #take(row: Row | undefined, is: (sight: Sight) => boolean): Sight | undefined {
    if (row === undefined) return undefined;
    const own = this.#namelessOf(row.keyId);
    const at = own.findLastIndex(
      (sight) => sight.sentMs <= row.admitMs && sight.model === row.requestedModel && is(sight),
    );
    return at < 0 ? undefined : own.splice(at, 1)[0];
  }

  #namelessOf(keyId: string): Sight[] {
    const own = this.#nameless.get(keyId) ?? [];
    this.#nameless.set(keyId, own);
    return own;
  }
}
