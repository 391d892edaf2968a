import { describe, expect, it } from "vitest";
import { GrowingText, type Reading } from "../../../../services/router/answer/growing-text.ts";

/** Reads on while the text grows, and gives what was found. */
function read<T>(pieces: readonly string[], reading: (text: GrowingText) => Reading<T>): T {
  const text = new GrowingText();
  const running = reading(text);
  for (const piece of pieces) {
    text.append(piece);
    const step = running.next();
    if (step.done) return step.value;
  }
  text.end(false);
  const step = running.next();
  if (!step.done) throw new Error("it reads on after the end");
  return step.value;
}

describe("a text that grows", () => {
  it("tells at once what can't begin a marker, and holds what can", () => {
    const text = new GrowingText();
    const told: string[] = [];
    const reading = text.until(["<a>", "[b]"], (piece) => told.push(piece));
    for (const piece of ["x<", "y[", "b", "]z"]) {
      text.append(piece);
      reading.next();
      told.push("|");
    }
    expect(told.join("")).toBe("x|<y|||");
  });

  it("goes back to what was read, however much came since", () => {
    const found = read(["ab", "cd", "e"], function* (text) {
      text.mark();
      while ((yield* text.peek()) !== "e") text.skip();
      text.rewind();
      return yield* text.accept("abcde");
    });
    expect(found).toBe(true);
  });

  it("waits for a literal only while it can still come", () => {
    const accepts = (...pieces: string[]) => read(pieces, (text) => text.accept("abc"));
    expect([accepts("a", "b", "c"), accepts("a", "bd"), accepts("ab")]).toEqual([true, false, false]);
  });

  it("lets only so much be taken back, at once and in all", () => {
    const readable = read(["x".repeat(400_000)], function* (text) {
      const counts: number[] = [];
      for (let round = 0; round < 18; round++) {
        text.mark();
        let count = 0;
        while ((yield* text.peek()) !== "") {
          text.skip();
          count += 1;
        }
        text.rewind();
        counts.push(count);
      }
      return counts;
    });
    expect(readable).toEqual([...Array.from({ length: 17 }, () => 16_384), 0]);
  });
});
