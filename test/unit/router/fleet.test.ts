import { create } from "@bufbuild/protobuf";
import { describe, expect, test } from "vitest";
import {
  type WatchResponse,
  WatchResponse_ChangeSchema,
  WatchResponseSchema,
} from "../../../gen/ts/weir/catalog/v1/catalog_service_pb.ts";
import { ModelSchema } from "../../../gen/ts/weir/catalog/v1/model_pb.ts";
import { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import { createCacheSalts } from "../../../services/router/cache-salt.ts";
import { CatalogView } from "../../../services/router/fleet/catalog-view.ts";
import { followWatch } from "../../../services/router/follow-watch.ts";
import { findCallable, listCallable } from "../../../services/router/models.ts";
import { fail } from "../../../services/runtime/errors/fail.ts";
import type { Sink } from "../../../services/runtime/mesh/push.ts";
import { anyone, RouterWorld } from "../../fakes/router-world.ts";
import { SimulatedClock } from "../../fakes/simulated-clock.ts";

const model = (id: string, poolId: string, deleted = false) =>
  create(WatchResponse_ChangeSchema, {
    resource: { case: "model", value: create(ModelSchema, { id, poolId }) },
    deleted,
  });

describe("the catalogue as a watch tells it", () => {
  test("a change touches the pool that it leaves and the one that it enters", () => {
    const view = new CatalogView();
    expect(view.apply(model("m", "p"))).toEqual(["p"]);
    expect(view.apply(model("m", "q"))).toEqual(["q", "p"]);
    expect(view.apply(model("m", "", true))).toEqual(["q"]);
    expect(view.models.size).toBe(0);
  });

  test("what a new snapshot does not name is gone when it is complete, not before", () => {
    const view = new CatalogView();
    view.apply(model("old", "p"));
    view.apply(model("both", "p"));
    view.begin();
    view.apply(model("both", "q"));
    expect([...view.models.keys()]).toEqual(["old", "both"]);
    expect(view.end()).toEqual(["p"]);
    expect([...view.models.keys()]).toEqual(["both"]);
    view.apply(model("later", "p"));
    expect(view.end()).toEqual([]);
    expect(view.models.has("later")).toBe(true);
  });
});

describe("following the catalogue", () => {
  function follow() {
    const clock = new SimulatedClock();
    const sinks: Sink<WatchResponse>[] = [];
    const log: string[] = [];
    const close = followWatch<WatchResponse>({
      service: "catalog",
      clock,
      open(sink) {
        sinks.push(sink);
        return () => void log.push("cancel");
      },
      begin: () => void log.push("begin"),
      event: ({ event }) => void log.push(event.case ?? ""),
      lost: (error) => void log.push(error ? "failed" : "ended"),
    });
    const say = (kind: "heartbeat" | "snapshotEnd") =>
      sinks.at(-1)?.event(create(WatchResponseSchema, { event: { case: kind, value: {} } }));
    return { clock, sinks, log, close, say };
  }

  test("a watch that fails or ends is opened again, later each time until a snapshot came whole", () => {
    const { clock, sinks, close, say } = follow();
    const waits: number[] = [];
    for (let round = 0; round < 9; round++) {
      const opened = sinks.length;
      sinks.at(-1)?.fail(fail(ErrorReason.SERVICE_UNAVAILABLE));
      let waitedMs = 0;
      for (; sinks.length === opened; waitedMs += 10) clock.advance(10);
      waits.push(waitedMs);
    }
    expect(waits).toEqual([50, 100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000]);
    say("snapshotEnd");
    sinks.at(-1)?.end();
    const opened = sinks.length;
    clock.advance(50);
    expect(sinks.length).toBe(opened + 1);
    close();
    expect(clock.pendingTimers).toBe(0);
  });

  test("2 s of silence end a watch; heartbeats keep it", () => {
    const { clock, log, close, say } = follow();
    for (let beat = 0; beat < 10; beat++) {
      clock.advance(500);
      say("heartbeat");
    }
    expect(log).not.toContain("failed");
    clock.advance(1_999);
    expect(log).not.toContain("failed");
    clock.advance(1);
    expect(log.slice(-2)).toEqual(["cancel", "failed"]);
    close();
  });

  test("a watch that was given up is not heard, and nothing is opened after the close", () => {
    const { clock, sinks, log, close } = follow();
    clock.advance(2_000);
    sinks[0]?.event(create(WatchResponseSchema, { event: { case: "heartbeat", value: {} } }));
    sinks[0]?.end();
    expect(log).toEqual(["begin", "cancel", "failed"]);
    close();
    clock.advance(60_000);
    expect(sinks).toHaveLength(1);
  });

  test("closing an open watch cancels it without calling it lost", () => {
    const { log, close } = follow();
    close();
    close();
    expect(log).toEqual(["begin", "cancel"]);
  });
});

describe("what a caller may call", () => {
  function world(): RouterWorld {
    const made = new RouterWorld();
    made.pool();
    made.model({ id: "m", ownedBy: "us", contextLength: 99n });
    made.model({ id: "off", disabled: true });
    made.alias("fast", "m");
    made.alias("off-alias", "off");
    made.replica("a", { contextLength: 4_096 });
    made.replica("b", { contextLength: 2_048 });
    return made;
  }
  const ids = (made: RouterWorld, ...names: string[]) =>
    listCallable(made.fleet, anyone(...names))
      .map(({ id }) => id)
      .toSorted();

  test("is what the list shows", () => {
    const made = world();
    expect(ids(made)).toEqual(["fast", "m"]);
    expect(ids(made, "m")).toEqual(["fast", "m"]);
    expect(ids(made, "fast")).toEqual(["fast"]);
    expect(ids(made, "f*")).toEqual(["fast"]);
    expect(ids(made, "other")).toEqual([]);
    for (const key of [anyone(), anyone("m"), anyone("fast"), anyone("x")]) {
      const listed = new Set(listCallable(made.fleet, key).map(({ id }) => id));
      for (const name of ["m", "fast", "off", "off-alias", "none"]) {
        expect(findCallable(made.fleet, key, name) !== undefined).toBe(listed.has(name));
      }
    }
  });

  test("with the context that holds at every replica", () => {
    expect(listCallable(world().fleet, anyone()).find(({ id }) => id === "fast")).toMatchObject({
      ownedBy: "us",
      contextLength: 2_048n,
      aliasOf: "m",
    });
  });
});

test("a project's cache salt is its own, the same everywhere, and 43 URL-safe characters", () => {
  const salts = createCacheSalts(new Uint8Array(32).fill(1));
  expect(salts("p")).toMatch(/^[A-Za-z0-9_-]{43}$/);
  expect(salts("p")).toBe(createCacheSalts(new Uint8Array(32).fill(1))("p"));
  expect(salts("q")).not.toBe(salts("p"));
  expect(createCacheSalts(new Uint8Array(32).fill(2))("p")).not.toBe(salts("p"));
});
