import { describe, expect, test } from "vitest";
import type { Applicant } from "../../../services/router/admission/applicant.ts";
import type { Ticket } from "../../../services/router/admission/line.ts";
import { WaitingLine } from "../../../services/router/admission/waiting-line.ts";
import type { Seat } from "../../../services/router/fleet/seat.ts";
import { WeirError } from "../../../services/runtime/errors/fail.ts";
import { RouterWorld } from "../../fakes/router-world.ts";

describe("a waiting line", () => {
  const order = (line: WaitingLine<string>) => {
    const list: string[] = [];
    for (let place = line.head; place; place = place.next) list.push(place.value);
    return list;
  };

  test("is first come, first served, whoever leaves", () => {
    const line = new WaitingLine<string>();
    const [a, b, c, d] = ["a", "b", "c", "d"].map((name) => line.append(name));
    if (!a || !b || !c || !d) throw new Error("nobody came");
    expect(order(line)).toEqual(["a", "b", "c", "d"]);
    line.remove(b);
    line.remove(b);
    expect(order(line)).toEqual(["a", "c", "d"]);
    line.remove(a);
    line.remove(d);
    line.append("e");
    line.prepend("z");
    expect(order(line)).toEqual(["z", "c", "e"]);
    expect(line.length).toBe(3);
    expect(b.line).toBeUndefined();
  });
});

/** Somebody who wants a place at model "m", and what came of it. */
class Visitor implements Applicant {
  readonly modelId: string;
  readonly modelName: string;
  readonly needed: number;
  readonly tried: object[] = [];
  readonly affinity = 0;
  seat: Seat | undefined;
  ticket: Ticket | undefined;
  error: WeirError | undefined;
  readonly #served: (visitor: Visitor) => void;

  constructor(modelId: string, needed: number, served: (visitor: Visitor) => void) {
    this.modelId = modelId;
    this.modelName = modelId;
    this.needed = needed;
    this.#served = served;
  }

  granted(seat: Seat): void {
    if (this.seat) throw new Error("two places for one");
    this.ticket = undefined;
    this.seat = seat;
    this.#served(this);
  }

  refused(error: WeirError): void {
    this.ticket = undefined;
    this.error = error;
  }
}

/** Numbers that look like chance and are the same in every run. */
function seeded(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

describe("whatever happens in whatever order", () => {
  test.each([1, 2, 3, 4, 5, 6, 7, 8])(
    "no replica has more than its places, no place leaks, nobody is passed by (seed %i)",
    (seed) => {
      const places = 3;
      const chance = seeded(seed);
      const world = new RouterWorld({ queueMax: 40, queueTimeoutMs: 5_000 });
      world.pool({ concurrencyMax: places });
      world.model({ id: "m" });
      world.model({ id: "n" });
      const replicas = ["a", "b", "c"];
      const put = (id: string, up: boolean) => world.replica(id, { models: ["m", "n"], up });
      for (const id of replicas) put(id, true);
      const holding = new Set<Visitor>();
      const waiting: Visitor[] = [];
      const servedLate: Visitor[] = [];

      const arrive = () => {
        const visitor = new Visitor(chance(4) === 0 ? "n" : "m", 0, (one) => {
          // Of those who want the same, nobody who came earlier still waits.
          const at = waiting.indexOf(one);
          const earlier = waiting
            .slice(0, at)
            .filter((other) => other.modelId === one.modelId && other.ticket !== undefined);
          expect(earlier).toEqual([]);
          waiting.splice(at, 1);
          holding.add(one);
          servedLate.push(one);
        });
        const found = world.admission.take(visitor);
        if (typeof found !== "string") {
          visitor.seat = found;
          holding.add(visitor);
          return;
        }
        const ticket = world.admission.wait(visitor, false);
        if (ticket instanceof WeirError) return;
        visitor.ticket = ticket;
        waiting.push(visitor);
      };
      const leave = (visitor: Visitor | undefined) => {
        if (!visitor?.seat) return;
        holding.delete(visitor);
        world.admission.leave(visitor.seat);
      };
      const give = () => leave([...holding][chance(holding.size || 1)]);
      const cancel = () => {
        const visitor = waiting[chance(waiting.length || 1)];
        if (visitor?.ticket?.leave()) waiting.splice(waiting.indexOf(visitor), 1);
        if (visitor) visitor.ticket = undefined;
      };

      for (let step = 0; step < 4_000; step++) {
        const what = chance(100);
        if (what < 48) arrive();
        else if (what < 90) give();
        else if (what < 94) cancel();
        else if (what < 98) put(replicas[chance(3)] ?? "a", chance(2) === 0);
        else if (what < 99) world.pool({ concurrencyMax: places, receiveBytesMax: BigInt(1 + chance(2)) });
        else world.clock.advance(chance(3_000));
        for (const gone of waiting.filter((visitor) => visitor.error)) waiting.splice(waiting.indexOf(gone), 1);

        // By replica, whichever driver it is spoken to through.
        const held = [...holding].flatMap(({ seat }) => seat?.replica ?? []);
        for (const replica of held) {
          const count = held.filter(({ id }) => id === replica.id).length;
          expect(count).toBeLessThanOrEqual(places);
          expect(replica.inFlight).toBe(count);
        }
        expect(world.admission.waiting).toBe(waiting.length);
        expect(world.admission.waiting).toBeLessThanOrEqual(40);
        expect(world.queued).toBe(waiting.length);
      }
      expect(servedLate.length).toBeGreaterThan(200);

      for (const id of replicas) put(id, true);
      while (holding.size > 0) leave([...holding][0]);
      expect(world.admission.waiting).toBe(0);
      expect(world.queued).toBe(0);
      for (const seat of world.fleet.resolve("m")?.seats ?? []) expect(seat.replica.inFlight).toBe(0);
      expect(world.clock.pendingTimers).toBe(0);
    },
  );
});

describe("lines for the same replicas", () => {
  test("are served in the order in which all of them came", () => {
    const world = new RouterWorld();
    world.pool({ concurrencyMax: 1 });
    for (const id of ["m", "n", "o"]) world.model({ id });
    world.replica("a", { models: ["m", "n", "o"] });
    const order: string[] = [];
    const visit = (model: string) => new Visitor(model, 0, (one) => void order.push(one.modelId));
    const first = visit("m");
    const seat = world.admission.take(first);
    if (typeof seat === "string") throw new Error(seat);
    for (const model of ["n", "m", "o", "m"]) {
      const visitor = visit(model);
      const ticket = world.admission.wait(visitor, false);
      if (!(ticket instanceof WeirError)) visitor.ticket = ticket;
    }
    for (let round = 0; round < 4; round++) world.admission.leave(seat);
    expect(order).toEqual(["n", "m", "o", "m"]);
  });
});
