import { describe, expect, test } from "vitest";
import { StopFilter } from "../../services/drivers/stop-filter.ts";
import { partialLength } from "../../services/drivers/character-stream.ts";
import { type TextMode, TextTrack } from "../../services/drivers/triton/text-track.ts";

const bytes = (piece: string | number[]) => (typeof piece === "string" ? Buffer.from(piece) : Buffer.from(piece));

function texts(mode: TextMode, prompt: string, pieces: readonly (string | number[])[]): string[] {
  const track = new TextTrack(mode, prompt);
  return [...pieces.map((piece) => track.push(bytes(piece))), track.flush()];
}

describe("the text of a choice", () => {
  test.each<[string, TextMode, string, (string | number[])[], string[]]>([
    ["deltas", "delta", "", ["a", "", "ab"], ["a", "", "ab", ""]],
    ["a character over two deltas", "delta", "", [[0xc3], [0xa9, 0x21]], ["", "é!", ""]],
    ["a character over four deltas", "delta", "", [[0xf0], [0x9f], [0x8c], [0x8a]], ["", "", "", "🌊", ""]],
    ["a character that stays broken", "delta", "", ["a", [0xc3]], ["a", "", "�"]],
    ["U+FFFD that the engine made itself", "delta", "", ["�", "�"], ["�", "�", ""]],
    ["cumulative texts", "cumulative", "", ["a", "ab", "ab", "abc"], ["a", "b", "", "c", ""]],
    ["a cumulative text with an unfinished character", "cumulative", "", ["a�", "a漢"], ["a", "漢", ""]],
    ["the prompt before the first delta", "delta", "Say: ", ["Say: hi", " Say: "], ["hi", " Say: ", ""]],
    ["the prompt before each cumulative text", "cumulative", "Q", ["Qa", "Qab"], ["a", "b", ""]],
    ["a text that only begins like the prompt", "delta", "Say: ", ["Sa", "y: "], ["Sa", "y: ", ""]],
    ["unknown, in fact deltas", "unknown", "", ["a", "b", "c"], ["a", "b", "c", ""]],
    ["unknown, deltas that begin alike", "unknown", "", ["I", "I'm", " so"], ["I", "", "I'm so", ""]],
    ["unknown, deltas that are the same", "unknown", "", ["ha", "ha", "!"], ["ha", "", "ha!", ""]],
    ["unknown, the same to the end", "unknown", "", ["ha", "ha"], ["ha", "", ""]],
    ["unknown, cumulative with a pause", "unknown", "", ["a", "a", "ab", "ab", "abc"], ["a", "", "", "", "bc", ""]],
    ["unknown, cumulative, its end cut by a stop text", "unknown", "", ["a", "ab<", "ab"], ["a", "", "", "b"]],
    ["unknown, in fact cumulative", "unknown", "", ["a", "ab", "abc", "abcd"], ["a", "", "bc", "d", ""]],
    ["unknown to the end", "unknown", "", ["a", "ab"], ["a", "", "b"]],
    ["unknown, with an empty beginning", "unknown", "", ["", "a", "ab", "abc"], ["", "a", "", "bc", ""]],
  ])("%s", (_, mode, prompt, pieces, expected) => {
    expect(texts(mode, prompt, pieces)).toEqual(expected);
  });

  test.each([
    [[0x61], 0],
    [[0xc3], 1],
    [[0xc3, 0xa9], 0],
    [[0xe6, 0xbc], 2],
    [[0xe6, 0xbc, 0xa2], 0],
    [[0xf0, 0x9f, 0x8c], 3],
    [[0xf0, 0x9f, 0x8c, 0x8a], 0],
    // No beginning within reach: broken, and nothing to wait for.
    [[0x80, 0x80, 0x80], 0],
    [[], 0],
  ])("the bytes of %j that wait for more: %i", (input, expected) => {
    expect(partialLength(Uint8Array.from(input))).toBe(expected);
  });
});

describe("stop texts", () => {
  function run(stops: string[], pieces: string[]): { text: string; stop: string | undefined } {
    const filter = new StopFilter(stops);
    let text = "";
    for (const piece of pieces) {
      const filtered = filter.push(piece);
      text += filtered.text;
      if (filtered.stop !== undefined) return { text, stop: filtered.stop };
    }
    return { text: text + filter.flush(), stop: undefined };
  }

  test.each<[string[], string, string, string | undefined]>([
    [[], "abc", "abc", undefined],
    [["b"], "abc", "a", "b"],
    [["END"], "the END of it", "the ", "END"],
    [["END"], "the EN", "the EN", undefined],
    [["ab", "b"], "xaby", "x", "ab"],
    [["aab"], "aaab", "a", "aab"],
    [["xyz", "y"], "wxyz", "wx", "y"],
    [["\n\n"], "a\n\nb", "a", "\n\n"],
    [["stop"], "sto stop", "sto ", "stop"],
    [["🌊!"], "a🌊!b", "a", "🌊!"],
  ])("%j in %j leave %j", (stops, text, expected, stop) => {
    // Whole, one by one, and cut at every place.
    const cuts = Array.from({ length: text.length + 1 }, (_, at) => [text.slice(0, at), text.slice(at)]);
    for (const pieces of [[...text], ...cuts]) {
      expect(run(stops, pieces), JSON.stringify(pieces)).toEqual({ text: expected, stop });
    }
  });

  test("nothing is held back that cannot begin a stop text", () => {
    const filter = new StopFilter(["<|end|>"]);
    expect(filter.push("hello").text).toBe("hello");
    expect(filter.push(" <|").text).toBe(" ");
    expect(filter.push("x").text).toBe("<|x");
  });
});
