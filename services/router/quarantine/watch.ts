import { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import type { Clock, Timer } from "../../runtime/clock.ts";
import { fail, type WeirError } from "../../runtime/errors/fail.ts";
import { Turns } from "../../runtime/turns.ts";
import type { Content } from "./content.ts";
import { Examination, type Examined } from "./examination.ts";

/** Suspects of a pool: one runs, the others wait. */
interface Lane {
  readonly poolId: string;
  /** Whose turn it is. */
  running: Examination | undefined;
  /** It has had its time. */
  spent: boolean;
  /** Until it has; undefined: no engine has it so far. */
  timer: Timer | undefined;
  /** Projects take turns. */
  readonly waiting: Turns<Examination>;
  /** The next one is about to be asked. */
  handing: boolean;
}

export interface WatchOptions {
  readonly clock: Clock;
  /** The longest wait for a turn. */
  readonly waitMaxMs: number;
  /** What is known of a content now: it is refused, has to be watched, or has little against it. */
  readonly judge: (content: Content) => WeirError | "watch" | undefined;
  /** Runs it once, in a later turn of the event loop. */
  readonly schedule: (run: () => void) => void;
}

/** A caller may be lucky this soon: by then the request before it has mostly ended. */
const retryAfterMs = 2_000;
/**
 * A suspect runs alone for so long while others wait, from when an engine has it: a turn that went by while all places were
 * taken would tell of nothing. What kills an engine mostly does so while the prompt is read or soon
 * after; and with the usual queue_timeout of a minute whoever is the third sees its turn come.
 */
const turnMaxMs = 30_000;
/** Who wait in a pool, and of one project. More would mostly wait for nothing: in a minute so many have half a second each. */
const lineMax = 512;
const lineMaxOfProject = 128;

/** Lets suspects run one at a time in each pool, so that the death of an engine tells which of them it is. */
export class Watch {
  readonly #options: WatchOptions;
  readonly #lanes = new Map<string, Lane>();
  /** Those that run on after their turns: each took half a minute to become one. */
  readonly #late = new Set<Examination>();

  constructor(options: WatchOptions) {
    this.#options = options;
  }

  /** Gives a suspect its turn, at once if no other runs or waits in the pool: then it is *watched*. QUEUE_FULL: too many wait. */
  enter(content: Content, poolId: string, examined: Examined): Examination | WeirError {
    const lane = this.#lane(poolId);
    const full = isFull(lane.waiting, content);
    if (full) return full;
    const examination = new Examination(content, poolId, examined, {
      runs: () => this.#startTime(lane, examination),
      left: () => this.#leave(lane, examination),
    });
    if (!lane.running && lane.waiting.empty) this.#begin(lane, examination);
    else this.#wait(lane, examination);
    return examination;
  }

  /** Whether a suspect runs on at a replica after its turn: what dies there may die of it. */
  hasLate(replicaId: string): boolean {
    for (const late of this.#late) if (late.replicaId === replicaId) return true;
    return false;
  }

  #lane(poolId: string): Lane {
    const known = this.#lanes.get(poolId);
    if (known) return known;
    const waiting = new Turns<Examination>();
    const lane: Lane = { poolId, running: undefined, spent: false, timer: undefined, waiting, handing: false };
    this.#lanes.set(poolId, lane);
    return lane;
  }

  #begin(lane: Lane, examination: Examination): void {
    lane.running = examination;
    lane.spent = false;
    examination.watch();
  }

  /** An engine gets it, the first of its turn or another. */
  #startTime(lane: Lane, examination: Examination): void {
    if (lane.running !== examination || lane.timer) return;
    lane.timer = this.#options.clock.setTimer(turnMaxMs, () => {
      lane.spent = true;
      this.#makeRoom(lane);
    });
  }

  #wait(lane: Lane, examination: Examination): void {
    const { content } = examination;
    lane.waiting.add(content.projectId, examination);
    const { clock, waitMaxMs } = this.#options;
    examination.wait(clock, waitMaxMs, () => this.#expire(examination));
    this.#makeRoom(lane);
  }

  /** Its turn has not come in time. Copies of it may have told that it needs none. */
  #expire(examination: Examination): void {
    const { content } = examination;
    const judged = this.#options.judge(content);
    if (judged === undefined) return examination.clear();
    const facts = {
      model: content.model,
      waited_ms: String(this.#options.waitMaxMs),
      retry_after_ms: String(retryAfterMs),
    };
    examination.bar(judged === "watch" ? fail(ErrorReason.QUEUE_TIMEOUT, facts, { retryAfterMs }) : judged);
  }

  /** It ran, or waits no more. */
  #leave(lane: Lane, examination: Examination): void {
    // Its lane may be another's by now.
    if (this.#late.delete(examination)) return;
    lane.waiting.drop(examination.content.projectId, examination);
    if (lane.running === examination) this.#endTurn(lane);
    this.#settle(lane);
  }

  /** Who has had its time goes on without watch when others wait: its death tells then what anybody's does. */
  #makeRoom(lane: Lane): void {
    const { running, spent, waiting } = lane;
    if (!running || !spent || waiting.empty) return;
    running.outstay();
    this.#late.add(running);
    this.#endTurn(lane);
    this.#settle(lane);
  }

  #endTurn(lane: Lane): void {
    lane.running = undefined;
    lane.timer?.cancel();
    lane.timer = undefined;
  }

  /** The next one is asked in a later turn of the event loop: whoever leaves need not bear what others do then. */
  #settle(lane: Lane): void {
    if (lane.running || lane.handing) return;
    if (lane.waiting.empty) return void this.#lanes.delete(lane.poolId);
    lane.handing = true;
    this.#options.schedule(() => {
      lane.handing = false;
      if (!lane.running) this.#askNext(lane);
      this.#settle(lane);
    });
  }

  /** What ran may have told something of those that wait. */
  #askNext(lane: Lane): void {
    const next = lane.waiting.take();
    if (!next) return;
    const judged = this.#options.judge(next.content);
    if (judged === "watch") this.#begin(lane, next);
    if (judged instanceof Error) next.bar(judged);
    else next.clear();
  }
}

function isFull(waiting: Turns<Examination>, { projectId, model }: Content): WeirError | undefined {
  const ofProject = waiting.count(projectId) >= lineMaxOfProject;
  if (!ofProject && waiting.size < lineMax) return undefined;
  const queueMax = ofProject ? lineMaxOfProject : lineMax;
  const facts = { model, queue_max: String(queueMax), retry_after_ms: String(retryAfterMs) };
  return fail(ErrorReason.QUEUE_FULL, facts, { retryAfterMs });
}
