import { afterAll, describe, expect, test } from "vitest";
import type { Dialect, ReplicaModel } from "../../gen/ts/weir/catalog/v1/replica_pb.ts";
import type { Driver, Target } from "../../services/drivers/driver.ts";
import { openDriver } from "../../services/drivers/registry.ts";
import { type FakeCall, type FakeGrpc, framed } from "../fakes/fake-grpc.ts";
import { attemptAt, Outcome, run, start, targetAt } from "./attempts.ts";

/** A driver at a server that does with each generation what the test says. */
export interface Served extends AsyncDisposable {
  readonly engine: FakeGrpc;
  readonly driver: Driver;
  readonly model: ReplicaModel;
}

/** Opens the driver of a fake and finds its model. Disposing closes both. */
export async function openServed(dialect: Dialect, engine: FakeGrpc, more: Partial<Target> = {}): Promise<Served> {
  await using stack = new AsyncDisposableStack();
  stack.use(engine);
  const driver = stack.use(openDriver(dialect, targetAt(engine.url, more)));
  const [model] = (await driver.probe(AbortSignal.timeout(5_000))).models;
  if (!model) throw new Error("the fake has no model");
  const owned = stack.move();
  return { engine, driver, model, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

/** The protocol whose driver is lied to. */
export interface LiarsTongue {
  serve(generate: (call: FakeCall) => void, more?: Partial<Target>): Promise<Served>;
  /** A message of the stream that tells a text and no end. */
  text(text: string): Uint8Array;
  /** The message that ends the stream well, and has no text. */
  finish(): Uint8Array;
  /** A message whose text is these bytes, where a text that is no UTF-8 breaks the protocol. */
  readonly textOf?: (bytes: Buffer) => Uint8Array;
}

const megabyte = "x".repeat(1_048_576);
/** 100 kB in fields of 10. */
const muchMetadata = Object.fromEntries(Array.from({ length: 10 }, (_, at) => [`x-much-${at}`, "x".repeat(10_000)]));

/** A frame that says it is compressed. */
function packed(message: Uint8Array): Buffer {
  const frame = framed(message);
  frame[0] = 1;
  return frame;
}

/** What every driver over gRPC bears of a server, whatever its protocol: each lie is one failure, and soon. */
export function describeGrpcLies(title: string, tongue: LiarsTongue): void {
  const cleanup = new AsyncDisposableStack();
  const serve: LiarsTongue["serve"] = async (...given) => cleanup.use(await tongue.serve(...given));
  const { text, textOf, finish } = tongue;
  const invalidUtf8 = textOf?.(Buffer.from("c328", "hex"));

  describe(title, () => {
    afterAll(() => cleanup.disposeAsync());

    test.each<[string, (call: FakeCall) => void, string]>([
      ["bytes that are no message", (call) => void call.send(Buffer.from("ffffffff", "hex")), "ENGINE_PROTOCOL"],
      ["a frame of 1 GB", (call) => call.raw(framed(text("x"), 2 ** 30)), "ANSWER_TOO_LARGE"],
      ["a message longer than the limit", (call) => void call.send(text("x".repeat(100_000))), "ANSWER_TOO_LARGE"],
      [
        "half a frame, and the end",
        (call) => (call.raw(framed(text("x")).subarray(0, 6)), call.end()),
        "ENGINE_TRUNCATED",
      ],
      ["trailers without a status", (call) => call.trailers({}), "ENGINE_PROTOCOL"],
      ["a status that is no number", (call) => call.trailers({ "grpc-status": "many" }), "ENGINE_PROTOCOL"],
      ["a status below nought", (call) => call.trailers({ "grpc-status": "-5" }), "ENGINE_PROTOCOL"],
      ["a status that nobody knows", (call) => call.trailers({ "grpc-status": "77" }), "ENGINE_PROTOCOL"],
      ["a message packed in no way that it named", (call) => call.raw(packed(text("x"))), "ENGINE_PROTOCOL"],
      ["metadata of 100 kB", (call) => (call.open(muchMetadata), call.end()), "ENGINE_TRUNCATED"],
      ["trailers of 100 kB without a status", (call) => call.trailers(muchMetadata), "ENGINE_PROTOCOL"],
      ["the end of the stream by a reset", (call) => call.reset(2), "ENGINE_FAILED"],
      ["an end without a word", (call) => call.end(), "ENGINE_TRUNCATED"],
      ["text, and an end", (call) => (call.send(text("hello")), call.end()), "ENGINE_TRUNCATED"],
      [
        "a web page",
        (call) => (call.open({ ":status": "502", "content-type": "text/html" }), call.trailers({})),
        "ENGINE_UNAVAILABLE",
      ],
      ["a refusal", (call) => call.end(3, "no such thing"), "ENGINE_REFUSED"],
      ["a full server", (call) => call.end(8, "too many requests"), "ENGINE_OVERLOADED"],
      ["a wrong key", (call) => call.end(16, "who are you"), "ENGINE_CREDENTIAL"],
      ["a call that it does not know", (call) => call.end(12, "Method not found"), "ENGINE_PROTOCOL"],
    ])("%s", async (_, lie, reason) => {
      // Another stream of the connection lives on.
      let bystander: FakeCall | undefined;
      const { driver, model } = await serve(
        (call) => {
          if (bystander) return lie(call);
          bystander = call;
          call.send(text("still"));
        },
        { receiveBytesMax: 65_536, idleMs: 2_000, firstEventMs: 2_000 },
      );
      const beside = start(driver, attemptAt(model)).outcome;
      await beside.until(() => beside.deltas.length > 0);
      const outcome = await run(driver, attemptAt(model));
      expect([outcome.reason, outcome.late]).toEqual([reason, 0]);
      bystander?.send(text(" here"));
      bystander?.send(finish());
      bystander?.end();
      await beside.done;
      expect([beside.text(), beside.reason]).toEqual(["still here", undefined]);
    });

    test.each(invalidUtf8 ? [invalidUtf8] : [])("text that is no UTF-8", async (message) => {
      const { driver, model } = await serve((call) => void call.send(message));
      expect((await run(driver, attemptAt(model))).reason).toBe("ENGINE_PROTOCOL");
    });

    // One field as long as that is an attack on the connection: HTTP/2 ends it, with all that is on it.
    test.each<[string, (call: FakeCall) => void]>([
      ["metadata", (call) => call.open({ "x-much": megabyte })],
      ["trailers", (call) => call.trailers({ "grpc-message": megabyte })],
    ])("a megabyte of %s, which ends the connection", async (_, lie) => {
      const { driver, model } = await serve(lie);
      const [outcome, beside] = [start(driver, attemptAt(model)).outcome, start(driver, attemptAt(model)).outcome];
      await Promise.all([outcome.done, beside.done]);
      expect([outcome.reason, beside.reason]).toEqual(["ENGINE_PROTOCOL", "ENGINE_PROTOCOL"]);
    });

    test("text after its end, which is closed", async () => {
      const { driver, model, engine } = await serve((call) => {
        call.send(text("hello"));
        call.send(finish());
        call.send(text("more"));
      });
      const outcome = await run(driver, attemptAt(model));
      expect([outcome.text(), outcome.ended, outcome.late]).toEqual(["hello", true, 0]);
      await engine.calls.at(-1)?.cancelled;
    });

    test.each<[string, (call: FakeCall) => void, Partial<Target>, string]>([
      ["nothing at all", () => undefined, { firstEventMs: 100 }, "first event"],
      ["headers, and nothing", (call) => call.open({}), { firstEventMs: 100 }, "first event"],
      ["text, and nothing", (call) => void call.send(text("x")), { idleMs: 100 }, "next event"],
    ])("silence: %s", async (_, lie, limits, phase) => {
      const { driver, model, engine } = await serve(lie, limits);
      const outcome = await run(driver, attemptAt(model));
      expect([outcome.reason, outcome.failure?.facts["phase"]]).toEqual(["ENGINE_TIMEOUT", phase]);
      await engine.calls.at(-1)?.cancelled;
    });

    test("silence after its end is an end, and the call is closed", async () => {
      const lie = (call: FakeCall) => (call.send(text("x")), void call.send(finish()));
      const { driver, model, engine } = await serve(lie, { idleMs: 100 });
      const outcome = await run(driver, attemptAt(model));
      expect([outcome.text(), outcome.ended]).toEqual(["x", true]);
      await engine.calls.at(-1)?.cancelled;
    });

    test("a connection that dies fails what runs and what comes", async () => {
      const { driver, model, engine } = await serve((call) => void call.send(text("x")));
      const running = start(driver, attemptAt(model)).outcome;
      await running.until(() => running.deltas.length > 0);
      engine.die();
      await running.done;
      expect([running.reason, running.failure?.facts["phase"]]).toEqual(["ENGINE_UNAVAILABLE", "running"]);
      expect((await run(driver, attemptAt(model))).reason).toBe("ENGINE_UNAVAILABLE");
    });

    test("a driver that is closed takes no more, and stops what runs", async () => {
      const { driver, model, engine } = await serve((call) => void call.send(text("x")));
      const running = start(driver, attemptAt(model)).outcome;
      await running.until(() => running.deltas.length > 0);
      await driver[Symbol.asyncDispose]();
      await engine.calls.at(-1)?.cancelled;
      await running.done;
      expect((await run(driver, attemptAt(model))).reason).toBe("ENGINE_UNAVAILABLE");
    });

    test("a reader that is full stops the stream, and loses nothing", async () => {
      const count = 2_000;
      const filler = "x".repeat(8_000);
      let sent = 0;
      const { driver, model } = await serve((call) => {
        const more = (): void => {
          while (sent < count) {
            sent += 1;
            if (!call.send(text(filler))) return call.onDrain(more);
          }
          call.send(finish());
          call.end();
        };
        more();
      });
      const outcome = new Outcome();
      outcome.isFull = true;
      start(driver, attemptAt(model), outcome);
      await outcome.until(() => outcome.deltas.length > 0);
      while (!outcome.resume) await new Promise((resolve) => setImmediate(resolve));
      let before = -1;
      while (before !== sent) {
        before = sent;
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
      expect(sent).toBeLessThan(count);
      outcome.isFull = false;
      outcome.resume();
      await outcome.done;
      expect([outcome.ended, outcome.text().length]).toEqual([true, count * filler.length]);
    });
  });
}
