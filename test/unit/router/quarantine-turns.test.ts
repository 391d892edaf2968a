import { setImmediate as nextTurn } from "node:timers/promises";
import { create } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { ModelSchema } from "../../../gen/ts/weir/catalog/v1/model_pb.ts";
import { PoolSchema } from "../../../gen/ts/weir/catalog/v1/pool_pb.ts";
import { GenerateRequestSchema } from "../../../gen/ts/weir/router/v1/inference_service_pb.ts";
import { Role } from "../../../gen/ts/weir/router/v1/message_pb.ts";
import { contentOf } from "../../../services/router/quarantine/content.ts";
import { Quarantine } from "../../../services/router/quarantine/quarantine.ts";
import { systemClock } from "../../../services/runtime/clock.ts";
import { usualTurn } from "../../fakes/longest-turn.ts";
import { anyone } from "../../fakes/router-world.ts";

const turnMaxMs = 20;

/** A conversation of so many messages, all of them together so long. */
function talk(bytes: number, messages: number, last: string) {
  const text = Buffer.alloc(bytes / messages, "One word after the other. ").toString();
  const request = create(GenerateRequestSchema, {
    model: "m",
    input: {
      case: "conversation",
      value: {
        messages: Array.from({ length: messages }, (_, at) => ({
          role: Role.USER,
          parts: [{ part: { case: "text" as const, value: at === messages - 1 ? text + last : text + String(at) } }],
        })),
      },
    },
  });
  return request;
}

const entry = { model: create(ModelSchema, { id: "m" }), pool: create(PoolSchema), seats: [], members: [] };

test.each([
  ["256 requests of 0.4 MB", 256, 400_000, 8],
  ["12 requests of 8 MB", 12, 8_000_000, 1],
])("no turn is long when %s die at once, and when they come again", async (_, count, bytes, messages) => {
  const requests = Array.from({ length: count }, (__, at) => talk(bytes, messages, String(1_000 + at)));
  const contents = () => requests.map((request) => contentOf(anyone(), { entry, request, extras: {}, ignored: [] }));
  const { turnMs } = await usualTurn(turnMaxMs, async () => {
    const quarantine = new Quarantine({
      clock: systemClock,
      queueTimeoutMs: 60_000,
      schedule: (run) => void setImmediate(run),
    });
    const startMs = systemClock.monotonicMs();
    for (const each of contents()) quarantine.died(each, { id: "a", score: count }, startMs, false);
    const again = contents().map(
      (each) =>
        new Promise<string>((resolve) => {
          const examined = { cleared: () => resolve("cleared"), barred: () => resolve("barred") };
          quarantine.examine(each, "pool", examined);
        }),
    );
    expect(new Set(await Promise.all(again))).toEqual(new Set(["cleared"]));
    // The turn in which the last was cleared counts as well.
    await nextTurn();
    await nextTurn();
  });
  expect(turnMs).toBeLessThan(turnMaxMs);
});
