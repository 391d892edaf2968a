import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";

/**
 * One line of the log that the models themselves write: what the engine did, whatever the wire says. A request goes
 * received, started (it has a slot), first, produced 1..n, and ends with one of finished, cancelled (its client went),
 * stopped (a request with the same id said `stop`) or error. `stop requested` and, from tensorrt_llm_bls,
 * `inner request` are beside that order.
 */
export interface EngineEvent {
  /** Unix time in milliseconds, with fractions, by the clock of this machine. */
  timeMs: number;
  /** The model that wrote it; requests to `ensemble` show up as `preprocessing` and `tensorrt_llm`. */
  model: string;
  requestId: string;
  event:
    | "received"
    | "started"
    | "first"
    | "produced"
    | "finished"
    | "cancelled"
    | "stopped"
    | "error"
    | "stop requested"
    | "inner request";
  /** produced and the four ends: tokens made so far, over all sequences of the request. */
  count?: number;
  /** received: the tensors as they arrived, flat; long ones as `{ elements }`. */
  inputs?: Record<string, unknown>;
  /** finished: the whole text of each sequence. */
  texts?: string[];
  /** finished: "stop" or "length" for each sequence. */
  finishReasons?: string[];
  /** error: what went wrong. */
  text?: string;
  /** inner request: the id under which tensorrt_llm_bls calls the other models. */
  innerRequestId?: string;
}

const ends: ReadonlySet<EngineEvent["event"]> = new Set(["finished", "cancelled", "stopped", "error"]);

/** All events so far, oldest first. */
export async function readEvents(logFolder: string): Promise<EngineEvent[]> {
  const text = await readFile(join(logFolder, "events.jsonl"), "utf8");
  // What follows the last line end may be half a line.
  const lines = text.slice(0, text.lastIndexOf("\n") + 1).split("\n");
  return lines.filter((line) => line !== "").map((line): EngineEvent => JSON.parse(line));
}

/** Requests that a model received and has not ended: the engine still works for them. */
export function openRequests(events: readonly EngineEvent[]): EngineEvent[] {
  const open = new Map<string, EngineEvent[]>();
  for (const event of events) {
    const key = JSON.stringify([event.model, event.requestId]);
    const received = open.get(key) ?? [];
    if (event.event === "received") received.push(event);
    if (ends.has(event.event)) received.shift();
    open.set(key, received);
  }
  return [...open.values()].flat();
}

/**
 * Reads the log until `holds` gives a value.
 * @throws when it does not within `timeoutMs`, with the last events.
 */
export async function untilEvents<T>(
  logFolder: string,
  holds: (events: EngineEvent[]) => T | undefined | false,
  timeoutMs: number,
): Promise<T> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    const events = await readEvents(logFolder);
    const value = holds(events);
    if (value !== undefined && value !== false) return value;
    if (performance.now() > deadline) {
      throw new Error(`not in the engine's log after ${timeoutMs} ms; it ends: ${JSON.stringify(events.slice(-5))}`);
    }
    await delay(10);
  }
}
