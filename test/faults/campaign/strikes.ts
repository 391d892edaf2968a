import type { Load } from "./load.ts";
import type { Moment } from "./phases.ts";
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

/** When it happened, and when all ran again. */
interface Struck {
  readonly moment: Moment;
  readonly backMs: number;
}

/** Traffic goes on for so long after everything is back. */
const afterMs = 600;

/** Does it, notes what PostgreSQL had then, and makes the world whole. */
export const strikes: Readonly<Record<Fault, (given: Given) => Promise<Struck>>> = {
  async "gateway killed"({ world, load, sinceMs }) {
    load.halt();
    const atMs = await world.data.kill();
    const finals = await world.ledger.finals(sinceMs);
    await world.data.start();
    return { moment: { atMs, finals }, backMs: Date.now() };
  },
  async "control killed"({ world, sinceMs }) {
    const atMs = await world.control.kill();
    const finals = await world.ledger.finals(sinceMs);
    await world.control.start();
    return goOn({ atMs, finals });
  },
  async "postgres killed"({ world, sinceMs }) {
    // Nobody can ask a PostgreSQL that is gone: what it had a moment before counts.
    const finals = await world.ledger.finals(sinceMs);
    const atMs = Date.now();
    world.postgres.kill();
    await world.postgres.ready();
    return goOn({ atMs, finals });
  },
  "control stopped": (given) => {
    const { now } = given.world.control;
    return during(given, [() => now.kill("SIGSTOP"), () => now.kill("SIGCONT")]);
  },
  "mesh cut": (given) => during(given, [() => given.world.mesh.cut(), () => given.world.mesh.open()]),
  "mesh silent": (given) => during(given, [() => given.world.mesh.silence(), () => given.world.mesh.open()]),
  "postgres cut": (given) => during(given, networkOf(given, "cut")),
  "postgres silent": (given) => during(given, networkOf(given, "silence")),
};

function networkOf({ world }: Given, how: "cut" | "silence"): readonly [() => void, () => void] {
  const { network } = world.postgres;
  return [() => network[how](), () => network.open()];
}

async function during(
  { world, sinceMs, lastsMs }: Given,
  [begin, end]: readonly [() => void, () => void],
): Promise<Struck> {
  const atMs = Date.now();
  begin();
  try {
    const finals = await world.ledger.finals(sinceMs);
    await new Promise((resolve) => setTimeout(resolve, lastsMs));
    end();
    return await goOn({ atMs, finals });
  } finally {
    end();
  }
}

async function goOn(moment: Moment): Promise<Struck> {
  const backMs = Date.now();
  await new Promise((resolve) => setTimeout(resolve, afterMs));
  return { moment, backMs };
}
