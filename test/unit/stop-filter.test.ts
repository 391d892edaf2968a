import { expect, test } from "vitest";
import { CharacterStream } from "../../services/drivers/character-stream.ts";
import { StopFilter } from "../../services/drivers/stop-filter.ts";
import { seededRandom } from "../fakes/seeded-random.ts";

const random = seededRandom(11);

/** Characters of one to four bytes, and few of them, so that stop texts overlap. */
const letters = ["a", "b", "é", "水", "🌊"];
const word = (longest: number) =>
  Array.from({ length: 1 + random.below(longest) }, () => random.pick(letters)).join("");

interface Ended {
  readonly text: string;
  readonly stop: string | undefined;
}

/** The stop text whose last character comes first; of two that end there, the one that begins first. */
function expected(text: string, stops: readonly string[]): Ended {
  for (let end = 1; end <= text.length; end += 1) {
    const found = stops.filter((stop) => text.slice(0, end).endsWith(stop)).sort((a, b) => b.length - a.length)[0];
    if (found !== undefined) return { text: text.slice(0, end - found.length), stop: found };
  }
  return { text, stop: undefined };
}

function filtered(stops: readonly string[], pieces: Iterable<string>): Ended {
  const filter = new StopFilter(stops);
  let text = "";
  for (const piece of pieces) {
    const { text: passed, stop } = filter.push(piece);
    text += passed;
    if (stop !== undefined) return { text, stop };
  }
  return { text: text + filter.flush(), stop: undefined };
}

/** The characters that bytes bring which come in such groups. */
function* decoded(bytes: Uint8Array, edges: readonly number[]): Generator<string> {
  const characters = new CharacterStream();
  let from = 0;
  for (const to of [...edges, bytes.length]) {
    yield characters.push(bytes.subarray(from, to));
    from = to;
  }
  yield characters.flush();
}

const rounds = Array.from({ length: 300 }, () => ({
  text: word(16),
  stops: Array.from({ length: 1 + random.below(3) }, () => word(4)),
}));

test("however a text is cut by its characters, it ends before the stop text that is complete first", () => {
  for (const { text, stops } of rounds) {
    const wanted = expected(text, stops);
    expect(filtered(stops, text.split("")), JSON.stringify({ text, stops })).toEqual(wanted);
    for (let cut = 0; cut <= text.length; cut += 1)
      expect(filtered(stops, [text.slice(0, cut), text.slice(cut)]), JSON.stringify({ text, stops, cut })).toEqual(
        wanted,
      );
  }
});

test("however a text is cut by its bytes", () => {
  for (const { text, stops } of rounds) {
    const wanted = expected(text, stops);
    const bytes = Buffer.from(text);
    const each = Array.from(bytes, (_, at) => at);
    expect(filtered(stops, decoded(bytes, each)), JSON.stringify({ text, stops })).toEqual(wanted);
    for (const cut of each)
      expect(filtered(stops, decoded(bytes, [cut])), JSON.stringify({ text, stops, cut })).toEqual(wanted);
  }
});

test("nothing is told that a stop text could still take back, and nothing is held back that none can", () => {
  for (const { text, stops } of rounds) {
    const filter = new StopFilter(stops);
    let told = "";
    let seen = "";
    for (const character of text) {
      seen += character;
      const { text: passed, stop } = filter.push(character);
      told += passed;
      if (stop !== undefined) break;
      const held = seen.slice(told.length);
      expect(
        held === "" || stops.some((one) => one.startsWith(held) && one !== held),
        JSON.stringify({ seen, told }),
      ).toBe(true);
      expect(expected(seen, stops).stop).toBeUndefined();
    }
  }
});
