import { create } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { ReplicaModelSchema } from "../../../../gen/ts/weir/catalog/v1/replica_pb.ts";
import { ErrorReason } from "../../../../gen/ts/weir/error/v1/error_pb.ts";
import { FinishReason } from "../../../../gen/ts/weir/router/v1/event_pb.ts";
import { accepted, finished, textDelta } from "../../../../services/drivers/events.ts";
import { FormCheck } from "../../../../services/router/form/form-check.ts";
import { PatternForm } from "../../../../services/router/form/pattern-form.ts";
import { createMeter } from "../../../../services/router/metering/meter.ts";
import { Try } from "../../../../services/router/try.ts";
import { fail } from "../../../../services/runtime/errors/fail.ts";
import { reasonName } from "../../../../services/runtime/errors/reason-name.ts";
import { ScriptedDriver } from "../../../fakes/scripted-driver.ts";
import { attemptAt } from "../../../wire/attempts.ts";

/** A try of two choices, each judged when the test says so, and what its listener heard. */
function judgedTry() {
  const verdicts: ((problem: string | undefined) => void)[] = [];
  const open = () => new PatternForm(() => new Promise((resolve) => verdicts.push(resolve)));
  const driver = new ScriptedDriver();
  const heard: string[] = [];
  const ready = {
    attempt: attemptAt(create(ReplicaModelSchema), { choices: 2 }),
    meter: createMeter({ prompt: { bytes: 4, tokens: undefined }, bytesPerToken: 4, promptMax: 0, completionMax: 0 }),
    complete: undefined,
    reader: undefined,
    form: new FormCheck({ name: "regex", early: true, open }),
    ignored: [],
  };
  const one: Try = new Try(
    ready,
    driver,
    { model: "m" },
    {
      accepted: () => undefined,
      passed: ({ event }) => void heard.push(event.case ?? "?"),
      turn: () => void heard.push("turn"),
      full: () => false,
      resumeWith: () => undefined,
      ended: () => void heard.push("ended"),
      failed: (_, error) => void heard.push(reasonName(error.reason)),
    },
  );
  one.start();
  const { sink } = driver.last;
  sink.event(accepted());
  for (const choice of [0, 1]) sink.event(textDelta(choice, "x", 1));
  return { one, sink, heard, verdicts, cancels: driver.last.cancels };
}
const judged = () => new Promise((resolve) => setImmediate(resolve));

test("the end waits for every verdict", async () => {
  const { one, sink, heard, verdicts } = judgedTry();
  sink.event(finished(0, FinishReason.STOP));
  sink.event(finished(1, FinishReason.STOP));
  sink.end();
  expect(heard).toEqual(["delta", "delta"]);
  verdicts[1]?.(undefined);
  await judged();
  expect(heard.slice(2)).toEqual(["finished", "turn"]);
  expect(one.unfinished()).toEqual([0]);
  verdicts[0]?.(undefined);
  await judged();
  expect(heard.slice(4)).toEqual(["finished", "turn", "ended"]);
});

test("a choice that is judged has no end so far, should the answer be cut", () => {
  const { one, sink } = judgedTry();
  sink.event(finished(0, FinishReason.STOP));
  expect(one.unfinished()).toEqual([1, 0]);
});

test("one bad choice ends them all, and stops the engine", async () => {
  const { sink, heard, verdicts, cancels } = judgedTry();
  sink.event(finished(0, FinishReason.STOP));
  verdicts[0]?.("it is wrong");
  await judged();
  expect(heard.slice(2)).toEqual(["ANSWER_MISMATCH"]);
  expect(cancels).toHaveLength(1);
  sink.event(textDelta(1, "y", 1));
  expect(heard).toHaveLength(3);
});

test("a verdict on what was cancelled is not heard", async () => {
  const { one, sink, heard, verdicts } = judgedTry();
  sink.event(finished(0, FinishReason.STOP));
  one.cancel(fail(ErrorReason.CANCELLED));
  verdicts[0]?.("it is wrong");
  await judged();
  expect(heard).toEqual(["delta", "delta"]);
});
