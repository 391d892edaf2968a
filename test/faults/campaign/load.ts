import { type SeededRandom, seededRandom } from "../../fakes/seeded-random.ts";
import { type Asker, ask } from "./client.ts";
import type { Sight } from "./truth.ts";
import { type Model, nextWish } from "./wishes.ts";

/** Many clients, each with a key of its own and one request at a time. */
export interface Load {
  /** What clients saw so far of requests that are over. */
  readonly sights: readonly Sight[];
  /** Requests that are under way, by model: for how long the oldest ones are, in milliseconds. */
  underWay(model: Model): readonly number[];
  /** Clients begin nothing more. */
  halt(): void;
  /** Halts, and waits until every request is over. */
  finished(): Promise<readonly Sight[]>;
}

export interface LoadOptions {
  readonly seed: number;
  /** A client each. */
  readonly keys: readonly Omit<Asker, "url">[];
  readonly url: () => string;
}

/** One that could not connect waits so long before it tries again. */
const refusedPauseMs = 50;

/** Starts it. The same seed makes the same clients ask for the same in the same order. */
export function startLoad({ seed, keys, url }: LoadOptions): Load {
  const sights: Sight[] = [];
  const underWay = new Map<string, { readonly model: Model; readonly sentMs: number }>();
  let halted = false;
  const client = async ({ keyId, secret }: Omit<Asker, "url">, random: SeededRandom): Promise<void> => {
    for (let at = 0; !halted; at++) {
      const wish = nextWish(random, at);
      underWay.set(keyId, { model: wish.model, sentMs: performance.now() });
      const sight = await ask({ url: url(), keyId, secret }, wish);
      underWay.delete(keyId);
      sights.push(sight);
      await pause(sight.end === "broken" ? refusedPauseMs : random.below(8));
    }
  };
  const clients = keys.map((key, at) => client(key, seededRandom(seed * 1_009 + at)));
  return {
    sights,
    underWay: (model) =>
      [...underWay.values()].filter((one) => one.model === model).map(({ sentMs }) => performance.now() - sentMs),
    halt: () => void (halted = true),
    async finished() {
      halted = true;
      await Promise.all(clients);
      return sights;
    },
  };
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
