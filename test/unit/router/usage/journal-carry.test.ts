import { fromBinary } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { UsageRecordSchema } from "../../../../gen/ts/weir/usage/v1/usage_record_pb.ts";
import { lostRecord } from "../../../../services/router/usage/lost.ts";
import { JournalFolder, UsageWorld } from "../../../fakes/usage-world.ts";

const segmentBytes = 256 * 1024;

test("a request that is carried along without room keeps what it receives after that", async () => {
  using folder = new JournalFolder();
  await using world = await UsageWorld.open(folder.path, { segmentBytes, bytesMax: 2 * segmentBytes });
  const [first] = folder.segments;
  const long = world.begin();
  while (world.usage.refusal() === undefined) {
    world.run(0);
    world.journal.flush();
    await new Promise((resolve) => setImmediate(resolve));
  }
  for (let tokens = 0; tokens < 10_000; tokens++) {
    long.receive(1);
    world.journal.flush();
  }
  // Its segment goes, and there is no room until another one is made.
  await world.ship();
  long.receive(5);
  world.journal.flush();
  await expect.poll(() => folder.segments).not.toContain(first);
  using copy = folder.copy();
  await using next = await UsageWorld.open(copy.path);
  const lost = next.former.unfinished.map(({ record, progress }) =>
    fromBinary(UsageRecordSchema, lostRecord(record, progress)),
  );
  expect(lost).toMatchObject([{ tokens: { completionTokens: 10_005n } }]);
});
