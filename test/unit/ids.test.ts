import { expect, test } from "vitest";
import { createIdSource, systemIds } from "../../services/runtime/ids.ts";
import { SimulatedClock } from "../fakes/simulated-clock.ts";

const ones = (length: number) => new Uint8Array(length).fill(0xff);
const zeros = (length: number) => new Uint8Array(length);

test("a UUIDv7 holds its time, version and variant", () => {
  const clock = new SimulatedClock(0x0123456789ab);
  expect(createIdSource({ clock, randomBytes: zeros }).uuidv7()).toBe("01234567-89ab-7000-8000-000000000000");
  expect(createIdSource({ clock, randomBytes: ones }).uuidv7()).toBe("01234567-89ab-77ff-bfff-ffffffffffff");
});

test.each([
  ["in one millisecond, more than its sequence has room for", () => {}],
  ["while the clock runs", (clock: SimulatedClock) => clock.advance(1)],
  ["while the clock steps back", (clock: SimulatedClock) => clock.jumpWallTo(clock.nowMs() - 1_000)],
])("ids sort as they were made %s", (_name, between) => {
  const clock = new SimulatedClock();
  const source = createIdSource({ clock, randomBytes: ones });
  const ids = Array.from({ length: 10_000 }, () => {
    between(clock);
    return source.uuidv7();
  });
  expect(ids.toSorted()).toEqual(ids);
  expect(new Set(ids).size).toBe(ids.length);
});

test("after time was borrowed, ids follow the clock again once it has caught up", () => {
  const clock = new SimulatedClock();
  const source = createIdSource({ clock, randomBytes: ones });
  for (let made = 0; made < 10_000; made += 1) source.uuidv7();
  clock.advance(1_000);
  expect(Number.parseInt(source.uuidv7().replaceAll("-", "").slice(0, 12), 16)).toBe(clock.nowMs());
});

test("short ids use their whole alphabet and nothing else", () => {
  const text = systemIds.short(20_000);
  expect(text).toHaveLength(20_000);
  expect([...new Set(text)].toSorted().join("")).toBe("0123456789abcdefghjkmnpqrstvwxyz");
});
