import type { Client } from "@connectrpc/connect";
import type { AuthenticateResponse, AuthService } from "../../../gen/ts/weir/auth/v1/auth_service_pb.ts";
import type { Clock } from "../clock.ts";
import type { Known, Refused } from "./principal-cache.ts";

/** What a look-up came to. */
export type Found =
  | { readonly kind: "known"; readonly known: Known }
  | { readonly kind: "refused"; readonly refused: Refused }
  /** The auth service answers, and cannot check this key. */
  | { readonly kind: "unchecked"; readonly cause: unknown }
  /** `away`: nothing was heard of the auth service, so that the next one would wait in vain. */
  | { readonly kind: "unavailable"; readonly away: boolean; readonly cause: unknown };

/** Whose key is asked about. */
export interface KeyName {
  /** SHA-256 of the whole key: what a question is known by. */
  readonly digest: string;
  readonly keyId: string;
}

export interface KeyLookupOptions {
  readonly auth: Pick<Client<typeof AuthService>, "authenticate">;
  /** Keeps an answer that no change has overtaken. Called before anything else can happen. */
  readonly keep: (name: KeyName, answer: AuthenticateResponse) => Found;
  /** Any answer, with the monotonic time at which it was asked for. */
  readonly answered: (answer: AuthenticateResponse, sentMs: number) => void;
  readonly clock: Clock;
}

/** Asks the auth service about keys, once at a time for each. */
export interface KeyLookup {
  /**
   * Joins the question about this key that is on its way, or asks. It never rejects.
   *
   * @param timeoutMs waits no longer than this. The question goes on, as long as the contract allows: its answer is kept.
   */
  ask(name: KeyName, key: string, timeoutMs: number): Promise<Found>;
  /** The watch told that a key changed at this revision. */
  changed(revision: bigint, keyId: string): void;
  /** The watch told that any key may have changed up to this revision, and that revisions count within this epoch. */
  reset(revision: bigint, epoch: string): void;
}

/** A question that is on its way. */
interface Flight {
  readonly name: KeyName;
  /** The highest revision that the watch told for this key meanwhile. An answer read before it is out of date. */
  changedAt: bigint;
  /** The epoch of that revision, if the watch told of a new one meanwhile. An answer of another is out of date. */
  epoch: string | undefined;
  found?: Promise<Found>;
}

/** As long as the contract allows. */
const answerMs = 2_000;
/** Questions at once. Beyond them something is wrong, and more would not help the store. */
const flightsMax = 1_024;
/** A key that changes this often while it is asked about is not being used in earnest. */
const triesMax = 3;

export function createKeyLookup(options: KeyLookupOptions): KeyLookup {
  const { clock } = options;
  const flights = new Map<string, Flight>();

  async function find(flight: Flight, key: string): Promise<Found> {
    try {
      for (let tries = 0; tries < triesMax; tries++) {
        const sentMs = clock.monotonicMs();
        const answer = await options.auth.authenticate({ key }, { timeoutMs: answerMs });
        options.answered(answer, sentMs);
        const ofEpoch = flight.epoch === undefined || flight.epoch === answer.epoch;
        if (ofEpoch && flight.changedAt <= answer.revision) return options.keep(flight.name, answer);
      }
      return { kind: "unavailable", away: false, cause: new Error("the key changed during every look-up") };
    } catch (cause) {
      return { kind: "unavailable", away: true, cause };
    } finally {
      flights.delete(flight.name.digest);
    }
  }

  /** Each caller waits as long as it likes, whoever asked first. */
  function within(timeoutMs: number, found: Promise<Found>): Promise<Found> {
    return new Promise((resolve) => {
      const timer = clock.setTimer(timeoutMs, () =>
        resolve({ kind: "unavailable", away: true, cause: new Error(`no answer within ${timeoutMs} ms`) }),
      );
      void found.then((answer) => {
        timer.cancel();
        resolve(answer);
      });
    });
  }

  return {
    ask(name, key, timeoutMs) {
      const underWay = flights.get(name.digest)?.found;
      if (underWay) return within(timeoutMs, underWay);
      if (flights.size >= flightsMax) {
        const cause = new Error(`${flightsMax} keys are being looked up`);
        return Promise.resolve({ kind: "unavailable", away: false, cause });
      }
      const flight: Flight = { name, changedAt: 0n, epoch: undefined };
      flights.set(name.digest, flight);
      flight.found = find(flight, key);
      return within(timeoutMs, flight.found);
    },
    changed(revision, keyId) {
      for (const flight of flights.values()) {
        if (flight.name.keyId === keyId && revision > flight.changedAt) flight.changedAt = revision;
      }
    },
    reset(revision, epoch) {
      for (const flight of flights.values()) {
        flight.changedAt = revision;
        flight.epoch = epoch;
      }
    },
  };
}
