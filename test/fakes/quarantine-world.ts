import { Content } from "../../services/router/quarantine/content.ts";
import { Examination } from "../../services/router/quarantine/examination.ts";
import { Quarantine } from "../../services/router/quarantine/quarantine.ts";
import { reasonName } from "../../services/runtime/errors/reason-name.ts";
import { SimulatedClock } from "./simulated-clock.ts";

/** A content that looks like all of its length. */
export const content = (text: string, { project = "project", model = "m" } = {}) =>
  new Content({
    projectId: project,
    modelId: model,
    model,
    sketch: () => String(text.length),
    all: () => ({ text }),
  });

export const queueTimeoutMs = 50_000;
/** Requests at a replica that is busy. */
export const crowd = 20;

/** Engines that went away with a content, each dispatched just before. */
export function quarantineWorld() {
  const clock = new SimulatedClock();
  const later: (() => void)[] = [];
  const turns = () => {
    for (let run = later.shift(); run; run = later.shift()) run();
  };
  const quarantine = new Quarantine({ clock, queueTimeoutMs, schedule: (run) => void later.push(run) });
  return {
    clock,
    quarantine,
    turns,
    /** @param others requests at the replica, it among them. */
    dies: (one: Content, replica: string, others = 1) => {
      const deaths = quarantine.died(one, { id: replica, score: others }, clock.monotonicMs(), false);
      turns();
      clock.advance(1);
      return deaths;
    },
    /** Asks for it with a place in the pool, again when it is cleared, and tells what came of it so far. */
    asks: (one: Content, pool = "pool", replica = "a") => {
      let found: ReturnType<Quarantine["examine"]>;
      let heard = "goes on";
      const ask = (): void => {
        if (found instanceof Examination && isWatched()) return found.runs(replica);
        found = quarantine.examine(one, pool, {
          cleared() {
            heard = "cleared";
            ask();
          },
          barred(error) {
            found = error;
          },
        });
        if (isWatched()) ask();
      };
      const isWatched = () => found instanceof Examination && found.phase === "watched";
      ask();
      turns();
      return {
        end() {
          if (found instanceof Examination) found.leave();
          turns();
        },
        dies: (replica: string, others = 1) =>
          quarantine.died(one, { id: replica, score: others }, clock.monotonicMs(), isWatched()),
        get state(): string {
          if (found instanceof Examination) return found.phase;
          return found ? reasonName(found.reason) : heard;
        },
      };
    },
  };
}
