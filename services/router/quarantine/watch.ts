import { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import type { Clock } from "../../runtime/clock.ts";
import { fail, type WeirError } from "../../runtime/errors/fail.ts";
import { Turns } from "../../runtime/turns.ts";
import type { Content } from "./content.ts";
import type { Examination } from "./examination.ts";

/** Suspects of a pool: one runs, the others wait. */
interface Lane {
  running: Examination | undefined;
  /** Projects take turns. */
  readonly waiting: Turns<Examination>;
}

export interface WatchOptions {
  readonly clock: Clock;
  /** The longest wait for a turn. */
  readonly waitMaxMs: number;
  /** What is known of a content now: it is refused, has to be watched, or has little against it. */
  readonly judge: (content: Content) => WeirError | "watch" | undefined;
}

/** A caller may be lucky this soon: by then the request before it has mostly ended. */
const retryAfterMs = 2_000;

/** Lets suspects run one at a time in each pool, so that the death of an engine tells which of them it is. */
export class Watch {
  readonly #options: WatchOptions;
  readonly #lanes = new Map<string, Lane>();

  constructor(options: WatchOptions) {
    this.#options = options;
  }

  /** Gives it its turn: at once (true) if no other suspect runs in its pool. */
  enter(examination: Examination): boolean {
    const { poolId, content } = examination;
    const lane = this.#lanes.get(poolId) ?? { running: undefined, waiting: new Turns<Examination>() };
    this.#lanes.set(poolId, lane);
    if (!lane.running) {
      lane.running = examination;
      examination.watch();
      return true;
    }
    lane.waiting.add(content.projectId, examination);
    const { clock, waitMaxMs } = this.#options;
    const facts = { model: content.model, waited_ms: String(waitMaxMs), retry_after_ms: String(retryAfterMs) };
    examination.wait(clock, waitMaxMs, () => fail(ErrorReason.QUEUE_TIMEOUT, facts, { retryAfterMs }));
    return false;
  }

  /** It ran, or waits no more. */
  leave(examination: Examination): void {
    const { poolId, content } = examination;
    const lane = this.#lanes.get(poolId);
    if (!lane) return;
    lane.waiting.drop(content.projectId, examination);
    if (lane.running !== examination) return;
    lane.running = undefined;
    this.#goOn(lane);
    if (!lane.running && lane.waiting.empty && this.#lanes.get(poolId) === lane) this.#lanes.delete(poolId);
  }

  /** What ran may have told something of those that wait. */
  #goOn(lane: Lane): void {
    while (!lane.running) {
      const next = lane.waiting.take();
      if (!next) return;
      const judged = this.#options.judge(next.content);
      if (judged === "watch") {
        lane.running = next;
        next.watch();
        next.clear();
      } else if (judged) next.bar(judged);
      else next.clear();
    }
  }
}
