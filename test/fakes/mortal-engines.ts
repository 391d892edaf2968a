import { accepted } from "../../services/drivers/events.ts";
import { answer, died, gone, seen } from "./generation-calls.ts";
import { anyone, type Call, RouterWorld } from "./router-world.ts";
import type { ScriptedTry } from "./scripted-driver.ts";
import type { SeededRandom } from "./seeded-random.ts";

/** What engines die of. */
export const poison = "poison";

/** How long an engine takes to start again. */
const restartMs = 20_000;
/** How often a client looks whether it was answered. */
const stepMs = 20;

/** A client that sends its request again until it is answered or told not to, as official ones do, but never tires. */
interface Client {
  readonly prompt: string;
  readonly project: string;
  call: Call | undefined;
  /** When it sends, in monotonic milliseconds. */
  sendMs: number;
  sent: number;
  end: "answered" | "REQUEST_QUARANTINED" | undefined;
}

/** Two engines of a model, or more, that die of one prompt, and clients that ask them. */
export class MortalEngines {
  readonly world = new RouterWorld();
  readonly clients: Client[] = [];
  /** The engines that died, in order. */
  readonly deaths: string[] = [];
  readonly #random: SeededRandom;
  readonly #open = new Map<string, Set<ScriptedTry>>();
  readonly #down = new Set<string>();

  constructor(random: SeededRandom, replicas: readonly string[] = ["a", "b"]) {
    this.#random = random;
    this.world.pool({ concurrencyMax: 64 });
    this.world.model({ id: "m" });
    for (const id of replicas) {
      this.world.replica(id);
      this.#open.set(id, new Set());
      this.world.driver(id).onTry = (one) => this.#take(id, one);
    }
  }

  /** A client sends that prompt after a while. */
  client(project: string, prompt: string, afterMs = 0): void {
    const sendMs = this.world.clock.monotonicMs() + afterMs;
    this.clients.push({ project, prompt, call: undefined, sendMs, sent: 0, end: undefined });
  }

  /** The engine is gone, with all that it had; a while later it is back. */
  kill(id: string): void {
    if (this.#down.has(id)) return;
    this.deaths.push(id);
    this.#down.add(id);
    const lost = [...(this.#open.get(id) ?? [])];
    this.#open.get(id)?.clear();
    for (const { sink } of this.#random.shuffled(lost)) sink.fail(died);
    this.world.replica(id, { up: false });
    this.world.clock.setTimer(restartMs, () => {
      this.#down.delete(id);
      this.world.replica(id);
    });
  }

  /** Lets time pass. */
  run(forMs: number): void {
    const untilMs = this.world.clock.monotonicMs() + forMs;
    while (this.world.clock.monotonicMs() < untilMs) {
      for (const client of this.clients) this.#look(client);
      this.world.turns();
      this.world.clock.advance(stepMs);
    }
  }

  /** How those ended that sent a prompt which is like this. */
  ends(isLike: (prompt: string) => boolean): Record<string, number> {
    const counts: Record<string, number> = {};
    for (const { prompt, end = "open" } of this.clients) if (isLike(prompt)) counts[end] = (counts[end] ?? 0) + 1;
    return counts;
  }

  #take(id: string, one: ScriptedTry): void {
    if (this.#down.has(id)) return one.sink.fail(gone);
    const open = this.#open.get(id);
    open?.add(one);
    one.sink.event(accepted());
    const isPoison = one.attempt.request.input.value === poison;
    const takesMs = isPoison ? 50 + this.#random.below(2_000) : 500 + this.#random.below(4_000);
    this.world.clock.setTimer(takesMs, () => {
      if (!open?.has(one)) return;
      if (isPoison) return this.kill(id);
      open.delete(one);
      answer(one, "x");
    });
  }

  #look(client: Client): void {
    const { clock } = this.world;
    const nowMs = clock.monotonicMs();
    if (client.end) return;
    if (!client.call) {
      if (nowMs < client.sendMs) return;
      client.sent += 1;
      const principal = { ...anyone(), projectId: client.project };
      client.call = this.world.call({ input: { case: "prompt", value: client.prompt } }, principal);
    }
    const last = outcome(client.call);
    if (last === undefined) return;
    if (last === "answered" || last === "REQUEST_QUARANTINED") client.end = last;
    else {
      client.call = undefined;
      client.sendMs = nowMs + 500 + this.#random.below(7_500);
    }
  }
}

/** How a call ended; undefined: it runs. */
function outcome(call: Call): string | undefined {
  const lines = seen(call);
  const last = lines.at(-1);
  if (last?.startsWith("fail ")) return last.slice("fail ".length);
  if (last !== "end") return undefined;
  const before = lines.at(-2) ?? "";
  return before.startsWith("failed ") ? before.slice("failed ".length) : "answered";
}
