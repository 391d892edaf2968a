import { closeSync, openSync, readSync } from "node:fs";
import type { Entry, Event } from "../../services/simulator/record.ts";

/** What an engine's own record says of one request. */
export interface Traced {
  readonly id: string;
  readonly promptTokens: number;
  readonly model: string;
  /** When each event was recorded, by the machine's clock in milliseconds. */
  readonly at: ReadonlyMap<Event, number>;
  /** Tokens that were produced until its end. */
  readonly tokens: number;
}

const ends: readonly Event[] = ["finished", "cancelled", "failed"];

/** How a request ended; undefined: it has not. */
export function endOf(traced: Traced): Event | undefined {
  return ends.find((event) => traced.at.has(event));
}

type Growing = { -readonly [Key in keyof Traced]: Traced[Key] } & { at: Map<Event, number> };

/** Follows a simulator's record while it is written. Reading on costs what is new, not what is there. */
export class RecordTail implements Disposable {
  readonly #file: number;
  readonly #requests = new Map<string, Growing>();
  readonly #open = new Map<string, Growing>();
  /** Requests that finished by themselves so far. */
  finished = 0;
  readonly #buffer = Buffer.alloc(65_536);
  #offset = 0;
  #rest = "";

  constructor(path: string) {
    this.#file = openSync(path, "r");
  }

  /** All requests so far, oldest first. */
  read(): readonly Traced[] {
    this.follow();
    return [...this.#requests.values()];
  }

  /** Takes in what is new. */
  follow(): void {
    const buffer = this.#buffer;
    for (;;) {
      const bytes = readSync(this.#file, buffer, 0, buffer.length, this.#offset);
      if (bytes === 0) break;
      this.#offset += bytes;
      const lines = (this.#rest + buffer.toString("latin1", 0, bytes)).split("\n");
      this.#rest = lines.pop() ?? "";
      for (const line of lines) this.#take(JSON.parse(line));
    }
  }

  /** Requests that were received and have not ended: the engine works for them, or means to. */
  open(): readonly Traced[] {
    this.follow();
    return [...this.#open.values()];
  }

  #take({ id, event, atMs, promptTokens, model, tokens }: Entry): void {
    const known = this.#requests.get(id) ?? { id, promptTokens: 0, model: "", at: new Map(), tokens: 0 };
    this.#requests.set(id, known);
    known.at.set(event, atMs);
    known.promptTokens = promptTokens ?? known.promptTokens;
    known.model = model ?? known.model;
    known.tokens = tokens ?? known.tokens;
    if (event === "finished") this.finished += 1;
    if (endOf(known) === undefined) this.#open.set(id, known);
    else this.#open.delete(id);
  }

  [Symbol.dispose](): void {
    closeSync(this.#file);
  }
}
