import { expect, test } from "vitest";
import { EndReason } from "../../../gen/ts/weir/usage/v1/usage_record_pb.ts";
import type { Event } from "../../../services/simulator/record.ts";
import type { Joined } from "../../faults/campaign/join.ts";
import { phaseAt } from "../../faults/campaign/phases.ts";

/** Admitted at 10, with its engine from 20, its first token at 30, its engine's end at 40, its client's at 50. */
function joined(
  over: { events?: readonly Event[]; endedMs?: number; attempts?: number; queueMs?: number } = {},
): Joined {
  const times: Readonly<Record<Event, number>> = {
    received: 20,
    started: 21,
    produced: 30,
    finished: 40,
    cancelled: 60,
    failed: 40,
  };
  const events = over.events ?? ["received", "started", "produced", "finished"];
  const at = new Map(events.map((event) => [event, times[event]]));
  return {
    requestId: "r",
    row: {
      requestId: "r",
      keyId: "k",
      projectId: "p",
      requestedModel: "wide",
      admitMs: 10,
      stage: 4,
      promptTokens: 5,
      completionTokens: 5,
      endReason: EndReason.COMPLETED,
      attempts: over.attempts ?? 1,
      queueMs: over.queueMs ?? 0,
      durationMs: 40,
    },
    sight: {
      keyId: "k",
      model: "wide",
      promptTokens: 5,
      wantedTokens: 5,
      sentMs: 9,
      endedMs: over.endedMs ?? 50,
      tokens: 5,
      end: "whole",
    },
    traces: events.length > 0 ? [{ id: "r-1", promptTokens: 5, model: "weir-sim", tokens: 5, at }] : [],
  };
}

const lost: readonly Event[] = ["received", "started", "produced", "cancelled"];
test.each([
  ["before it was admitted", 5, joined(), undefined],
  ["waiting, and dispatched later", 15, joined({ queueMs: 8 }), "queued"],
  ["waiting, and never dispatched", 15, joined({ events: [], attempts: 0 }), "queued"],
  ["dispatched, and not yet with its engine", 15, joined(), undefined],
  ["with its engine", 25, joined(), "prefill"],
  ["producing", 35, joined(), "streaming"],
  ["producing, and cut off later", 35, joined({ events: lost }), "streaming"],
  ["finished, its client waits", 45, joined(), "settling"],
  ["over, not in the ledger", 55, joined(), "shipping"],
  ["refused in the queue, not in the ledger", 55, joined({ events: [], attempts: 0 }), "shipping"],
  ["left, its engine has not noticed", 55, joined({ events: lost }), undefined],
] as const)("%s", (_what, atMs, request, phase) => {
  expect(phaseAt(request, { atMs, finals: new Set() })).toBe(phase);
});

test("what the ledger holds is in no phase", () => {
  expect(phaseAt(joined(), { atMs: 55, finals: new Set(["r"]) })).toBe(undefined);
});
