import { seededRandom } from "../../fakes/seeded-random.ts";
import type { World } from "./world.ts";

/** Keys that are made and revoked while things break. What was acknowledged must hold. */
export interface KeyWrites {
  /** Ends the writing. Resolves with a line for each acknowledged write that does not hold: none is as it should be. */
  verify(): Promise<readonly string[]>;
  /** Writes that were acknowledged so far. */
  readonly acknowledged: number;
}

interface Written {
  readonly keyId: string;
  readonly secret: string;
  /** Undefined: nobody asked for it. False: that got no answer, and is not known. */
  revoked?: boolean;
}

/** A revocation reaches every router within this, and a little more on a busy machine. */
const effectiveMs = 10_000;
const pauseMs = 20;

/** Writes, one after another, until it is asked to verify. */
export function startKeyWrites(world: World, seed: number): KeyWrites {
  const random = seededRandom(seed);
  const written: Written[] = [];
  let acknowledged = 0;
  let stopped = false;
  const write = async (): Promise<void> => {
    while (!stopped) {
      // What fails here is not known to have happened, and is held to nothing.
      await writeOne().catch(() => undefined);
      await new Promise((resolve) => setTimeout(resolve, pauseMs));
    }
  };
  const writeOne = async (): Promise<void> => {
    const key: Written = await world.calls.createKey("red");
    written.push(key);
    acknowledged += 1;
    if (random.next() < 0.5) return;
    key.revoked = false;
    await world.calls.revokeKey("red", key.keyId);
    key.revoked = true;
    acknowledged += 1;
  };
  const writing = write();
  return {
    get acknowledged() {
      return acknowledged;
    },
    async verify() {
      stopped = true;
      await writing;
      const problems = await Promise.all(written.map((key) => problemOf(world, key)));
      return problems.filter((problem) => problem !== undefined);
    },
  };
}

async function problemOf(world: World, { keyId, secret, revoked }: Written): Promise<string | undefined> {
  if (revoked === false) return undefined;
  const wanted = revoked ? 401 : 200;
  const endMs = performance.now() + effectiveMs;
  for (;;) {
    const status = await statusOf(`${world.data.now.url}/v1/models`, secret);
    if (status === wanted) return undefined;
    if (performance.now() > endMs) {
      const was = revoked ? "revoked" : "made";
      return `the key ${keyId} was ${was}, as was acknowledged, and is answered with ${status}`;
    }
    await new Promise((resolve) => setTimeout(resolve, pauseMs));
  }
}

async function statusOf(url: string, secret: string): Promise<number | string> {
  try {
    const response = await fetch(url, { headers: { authorization: `Bearer ${secret}` } });
    await response.arrayBuffer();
    return response.status;
  } catch (error) {
    return String(error);
  }
}
