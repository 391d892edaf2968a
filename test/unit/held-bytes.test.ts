import { expect, test } from "vitest";
import { HeldBytes } from "../../services/drivers/held-bytes.ts";

const river = Buffer.from("0123456789".repeat(100));

test.each([0, 5, 1_000, 10_000_000])("pieces come out as one, where %i bytes were announced", (announced) => {
  for (const size of [1, 7, 400, 1_000]) {
    const held = new HeldBytes();
    for (let at = 0; at < river.length; at += size) held.add(river, at, Math.min(river.length, at + size), announced);
    expect(held.length).toBe(river.length);
    expect(held.bytes.equals(river)).toBe(true);
    expect(held.take().equals(river)).toBe(true);
    expect(held.length).toBe(0);
  }
});

test("what was taken stays as it is", () => {
  const held = new HeldBytes();
  held.add(river, 0, 3);
  const first = held.take();
  held.add(river, 5, 9);
  expect([first.toString(), held.take().toString(), held.take().toString()]).toEqual(["012", "5678", ""]);
});

test("what is added is copied, for its bytes are lent", () => {
  const held = new HeldBytes();
  const lent = Buffer.from("lent");
  held.add(lent, 0, lent.length);
  lent.fill("x");
  expect(held.take().toString()).toBe("lent");
});

test("what is announced is not believed beyond measure", () => {
  const held = new HeldBytes();
  held.add(river, 0, 1, 2 ** 30);
  expect(held.take().buffer.byteLength).toBeLessThanOrEqual(65_536);
});
