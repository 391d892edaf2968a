import type { Load } from "./load.ts";
import type { Moment } from "./phases.ts";
import type { Counting } from "./truth.ts";
import type { World } from "./world.ts";

/** What is done to a world. In a world of one process the control plane is not to be told from the gateway. */
export const faults = [
  "gateway killed",
  "control killed",
  "postgres killed",
  "control stopped",
  "mesh cut",
  "mesh silent",
  "postgres cut",
  "postgres silent",
] as const;
export type Fault = (typeof faults)[number];

interface Given {
  readonly world: World;
  readonly load: Load;
  readonly sinceMs: number;
  readonly lastsMs: number;
}

/** When it happened, when all ran again, and what it did to the process that counts for limits. */
interface Struck {
  readonly moment: Moment;
  readonly backMs: number;
  readonly counting: Counting;
}

/** Traffic goes on for so long after everything is back. */
const afterMs = 600;

/** A process that counts, and can be asked again, is asked within this: calls that were begun before fail after a second. */
const noticedMs = 3_000;
const unharmed: Counting = { diedMs: [], away: [] };

/** Does it, notes what PostgreSQL had then, and makes the world whole. */
export const strikes: Readonly<Record<Fault, (given: Given) => Promise<Struck>>> = {
  async "gateway killed"({ world, load, sinceMs }) {
    load.halt();
    const atMs = await world.data.kill();
    const finals = await world.ledger.finals(sinceMs);
    await world.data.start();
    // In a world of one it is the process that counts as well.
    const counting = world.shape === "one" ? { ...unharmed, diedMs: [atMs] } : unharmed;
    return { moment: { atMs, finals }, backMs: Date.now(), counting };
  },
  async "control killed"({ world, sinceMs }) {
    const atMs = await world.control.kill();
    const finals = await world.ledger.finals(sinceMs);
    await world.control.start();
    return goOn({ atMs, finals }, { diedMs: [atMs], away: [awayUntilNow(atMs)] });
  },
  async "postgres killed"({ world, sinceMs }) {
    // Nobody can ask a PostgreSQL that is gone: what it had a moment before counts.
    const finals = await world.ledger.finals(sinceMs);
    const atMs = Date.now();
    world.postgres.kill();
    await world.postgres.ready();
    return goOn({ atMs, finals }, unharmed);
  },
  "control stopped": (given) => {
    const { now } = given.world.control;
    return during(given, [() => now.kill("SIGSTOP"), () => now.kill("SIGCONT")], "quota away");
  },
  "mesh cut": (given) => during(given, [() => given.world.mesh.cut(), () => given.world.mesh.open()], "quota away"),
  "mesh silent": (given) =>
    during(given, [() => given.world.mesh.silence(), () => given.world.mesh.open()], "quota away"),
  "postgres cut": (given) => during(given, networkOf(given, "cut"), "quota goes on"),
  "postgres silent": (given) => during(given, networkOf(given, "silence"), "quota goes on"),
};

function networkOf({ world }: Given, how: "cut" | "silence"): readonly [() => void, () => void] {
  const { network } = world.postgres;
  return [() => network[how](), () => network.open()];
}

async function during(
  { world, sinceMs, lastsMs }: Given,
  [begin, end]: readonly [() => void, () => void],
  quota: "quota away" | "quota goes on",
): Promise<Struck> {
  const atMs = Date.now();
  begin();
  try {
    const finals = await world.ledger.finals(sinceMs);
    await new Promise((resolve) => setTimeout(resolve, lastsMs));
    end();
    const counting = quota === "quota away" ? { ...unharmed, away: [awayUntilNow(atMs)] } : unharmed;
    return await goOn({ atMs, finals }, counting);
  } finally {
    end();
  }
}

async function goOn(moment: Moment, counting: Counting): Promise<Struck> {
  const backMs = Date.now();
  await new Promise((resolve) => setTimeout(resolve, afterMs));
  return { moment, backMs, counting };
}

function awayUntilNow(fromMs: number): Counting["away"][number] {
  return { fromMs, toMs: Date.now() + noticedMs };
}
