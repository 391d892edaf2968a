import { crashesMax } from "../failover.ts";
import type { Content } from "./content.ts";

/** A replica that has just gone away. */
export interface Dying {
  readonly id: string;
  /** Requests that were there, or had just broken off, ours and others', as far as is known. */
  readonly score: number;
}

/** A replica went away. */
export interface Death {
  readonly replicaId: string;
  /** When it was first heard of, in monotonic milliseconds. */
  readonly atMs: number;
  /** No other request was there. */
  readonly alone: boolean;
  /** A suspect was there that runs on after its turn under watch. */
  readonly doubtful: boolean;
}

/** A death that is heard of for the first time. */
export function deathOf({ id, score }: Dying, atMs: number, doubtful: boolean): Death {
  return { replicaId: id, atMs, alone: score <= 1, doubtful };
}

/** Whether a death tells of a content: it was alone there, or the only suspect. */
export function tellsOf({ alone, doubtful }: Death, watched: boolean): boolean {
  return alone || (watched && !doubtful);
}

/** Deaths that tell of a content before it is refused. */
const tellingMax = 2;

/** A content that engines went away with. */
export class Suspect {
  /** The first that had it. Who asks for the same is known by its digest. */
  readonly content: Content;
  /** True: the death tells of it, see {@link tellsOf}. The newest last. */
  readonly deaths = new Map<Death, boolean>();
  newestMs = 0;

  constructor(content: Content) {
    this.content = content;
  }

  add(death: Death, tells: boolean): void {
    this.deaths.set(death, tells || this.deaths.get(death) === true);
    this.newestMs = Math.max(this.newestMs, death.atMs);
  }

  /** Deaths before that moment count no more. */
  forgetBefore(atMs: number): void {
    for (const death of this.deaths.keys()) if (death.atMs < atMs) this.deaths.delete(death);
  }

  get refused(): boolean {
    let telling = 0;
    for (const tells of this.deaths.values()) if (tells) telling += 1;
    return telling >= tellingMax;
  }

  /** It has to run under watch, if at all. */
  get watched(): boolean {
    return this.deaths.size >= crashesMax;
  }
}
