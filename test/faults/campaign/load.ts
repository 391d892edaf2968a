import { type SeededRandom, seededRandom } from "../../fakes/seeded-random.ts";
import { type Asker, ask } from "./client.ts";
import type { Sight } from "./truth.ts";
import { type Model, nextWish } from "./wishes.ts";

/** A key, and how many clients have it. */
export interface ClientKey extends Omit<Asker, "url"> {
  readonly clients: number;
  /** A limit of its own may refuse it. */
  readonly limited: boolean;
}

/** Many clients, each with one request at a time. */
export interface Load {
  /** What clients saw so far of requests that are over. */
  readonly sights: readonly Sight[];
  /** Requests that are under way, by model: for how long, in milliseconds. */
  underWay(model: Model): readonly number[];
  /** Clients begin nothing more. */
  halt(): void;
  /** Halts, and waits until every request is over. */
  finished(): Promise<readonly Sight[]>;
}

export interface LoadOptions {
  readonly seed: number;
  readonly keys: readonly ClientKey[];
  readonly url: () => string;
}

/** One that could not connect waits so long before it tries again. */
const refusedPauseMs = 50;
/** One that was told to come again later does, and does not keep the machine busy with refusals. */
const limitedPauseMs = 100;

/** Whether a limit, or that it could not be checked, was the answer. */
export function isRefused({ status, code = "" }: Pick<Sight, "status" | "code">): boolean {
  return (status === 429 && code !== "") || (status === 503 && code === "store_unavailable");
}

/** Starts it. The same seed makes the same clients ask for the same in the same order. */
export function startLoad({ seed, keys, url }: LoadOptions): Load {
  const sights: Sight[] = [];
  const underWay = new Set<{ readonly model: Model; readonly sentMs: number }>();
  let halted = false;
  const client = async ({ keyId, secret, clients }: ClientKey, own: number, random: SeededRandom): Promise<void> => {
    for (let at = own; !halted; at += clients) {
      // All clients of a key together never ask twice alike in a while.
      const wish = nextWish(random, at);
      const running = { model: wish.model, sentMs: performance.now() };
      underWay.add(running);
      const sight = await ask({ url: url(), keyId, secret }, wish);
      underWay.delete(running);
      sights.push(sight);
      await pause(pauseAfter(sight, random));
    }
  };
  const started = keys.flatMap((key) => Array.from({ length: key.clients }, (_, own) => ({ key, own })));
  const clients = started.map(({ key, own }, at) => client(key, own, seededRandom(seed * 1_009 + at)));
  return {
    sights,
    underWay: (model) =>
      [...underWay].filter((one) => one.model === model).map(({ sentMs }) => performance.now() - sentMs),
    halt: () => void (halted = true),
    async finished() {
      halted = true;
      await Promise.all(clients);
      return sights;
    },
  };
}

function pauseAfter(sight: Sight, random: SeededRandom): number {
  if (isRefused(sight)) return limitedPauseMs + random.below(limitedPauseMs);
  return sight.end === "broken" ? refusedPauseMs : random.below(8);
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
