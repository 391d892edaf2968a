import { describe, expect, it } from "vitest";
import { ReasoningParser, ToolParser } from "../../../../gen/ts/weir/catalog/v1/model_pb.ts";
import { choiceParser } from "../../../../services/router/answer/choice-parser.ts";
import { callFormat, thoughtFormat } from "../../../../services/router/answer/formats.ts";
import { offeredTools } from "../../../../services/router/answer/offered-tools.ts";
import { seededRandom } from "../../../fakes/seeded-random.ts";
import { transcripts } from "./transcripts/all.ts";
import { offered, type Transcript } from "./transcripts/transcript.ts";

interface Said {
  text: string;
  thought: string;
  calls: [string, string, string][];
}

const tools = offeredTools(offered);
const name = ({
  tools: calls = ToolParser.UNSPECIFIED,
  thinks = ReasoningParser.UNSPECIFIED,
  name: what,
}: Transcript) => `${keyOf(ToolParser, calls)} ${keyOf(ReasoningParser, thinks)}: ${what}`;
const keyOf = (names: Readonly<Record<string, number>>, value: number) =>
  Object.keys(names).find((key) => names[key] === value) ?? "";

/** What the pieces say. */
function parse(transcript: Transcript, pieces: readonly string[]): Said {
  const said: Said = { text: "", thought: "", calls: [] };
  const parser = choiceParser(
    {
      calls: callFormat(transcript.tools ?? ToolParser.UNSPECIFIED),
      thought: thoughtFormat(transcript.thinks ?? ReasoningParser.UNSPECIFIED),
      tools,
      prompt: transcript.prompt ?? "",
    },
    {
      text: (text) => void (said.text += whole(text)),
      thought: (text) => void (said.thought += whole(text)),
      call: (called, id) => void said.calls.push([called, "", id]),
      args(text) {
        const last = said.calls.at(-1);
        if (!last) throw new Error("arguments without a call");
        last[1] += whole(text);
      },
    },
  );
  for (const piece of pieces) parser.push(piece);
  parser.end(transcript.cut ?? false);
  return said;
}

/** Half a character can't be sent. */
function whole(text: string): string {
  if (!text.isWellFormed()) throw new Error(`half a character at an end of ${JSON.stringify(text)}`);
  return text;
}

const wanted = ({ text = "", thought = "", calls = [] }: Transcript): Said => ({
  text,
  thought,
  calls: calls.map(([called, args, id = ""]) => [called, args, id]),
});

describe("a choice's text", () => {
  it.each(transcripts.map((row) => [name(row), row] as const))("%s", (_, row) => {
    expect(parse(row, [row.written])).toEqual(wanted(row));
  });

  it("says the same wherever it is cut", () => {
    for (const row of transcripts) {
      const characters = [...row.written];
      const want = wanted(row);
      expect(parse(row, characters), `${name(row)}, each character`).toEqual(want);
      for (let at = 1; at < characters.length; at++) {
        const pieces = [characters.slice(0, at).join(""), characters.slice(at).join("")];
        expect(parse(row, pieces), `${name(row)}, at ${at}`).toEqual(want);
      }
    }
  });

  it("says the same in pieces of any size", () => {
    const random = seededRandom(20_261_126);
    for (let round = 0; round < 30; round++) {
      for (const row of transcripts) {
        const pieces: string[] = [];
        const characters = [...row.written];
        while (characters.length > 0) pieces.push(characters.splice(0, random.below(9)).join(""));
        expect(parse(row, pieces), JSON.stringify(pieces)).toEqual(wanted(row));
      }
    }
  });

  it("is the same whole however much of it is garbage", () => {
    const random = seededRandom(7);
    const snippets = transcripts.flatMap(
      ({ written }) => written.match(/<[^<>]*>|\[[A-Z_]+\]|[{}[\]"',:=()]|\w+|\s+/gu) ?? [],
    );
    for (let round = 0; round < 1_500; round++) {
      const shape = random.pick(transcripts);
      const written = Array.from({ length: 1 + random.below(30) }, () => random.pick(snippets)).join("");
      const row = { ...shape, written };
      const whole = parse(row, [written]);
      expect(parse(row, [...written]), JSON.stringify({ shape: name(shape), written })).toEqual(whole);
    }
  });

  it.each([
    [ToolParser.HERMES, '<tool_call>{"x": "'],
    [ToolParser.HERMES, '<tool_call>{"arguments": {"x": "'],
    [ToolParser.HERMES, '<tool_call>{"name": "gauge", "arguments": "'],
    [ToolParser.QWEN, "<tool_call><function="],
    [ToolParser.QWEN, "<tool_call><function=gauge><parameter="],
    [ToolParser.QWEN, "<tool_call><function=gauge><parameter=days>"],
    [ToolParser.QWEN, "<tool_call><function=gauge><parameter=river>"],
    [ToolParser.LLAMA3, '{"'],
    [ToolParser.LLAMA3, '{"name": "ping", "parameters": ['],
    [ToolParser.MISTRAL, "[TOOL_CALLS]"],
    [ToolParser.MISTRAL, '[TOOL_CALLS][{"name": "ping"}, {"arguments": {"x": "'],
    [ToolParser.PYTHONIC, "[gauge("],
    [ToolParser.PYTHONIC, "[gauge(river='"],
    [ToolParser.DEEPSEEK, "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>"],
    [ToolParser.KIMI, "<|tool_call_begin|>ping:0<|tool_call_argument_begin|>"],
    [ToolParser.GLM, "<tool_call>gauge<arg_key>days</arg_key><arg_value>"],
  ])("holds little of what goes on for ever: %s %s", (calls, head) => {
    // White space between the tokens of a call is dropped, not held.
    const forms = [
      { thought: undefined, before: "" },
      { thought: thoughtFormat(ReasoningParser.QWEN3), before: "<think>" },
    ];
    const endlessOnes = ["a", "水", "[", "<", '\\"'];
    for (const { thought, before, endless } of forms.flatMap((one) =>
      endlessOnes.map((endless) => ({ ...one, endless })),
    )) {
      let told = 0;
      const tell = (text: string) => void (told += text.length);
      const form = { calls: callFormat(calls), thought, tools, prompt: "" };
      const parser = choiceParser(form, { text: tell, thought: tell, call: () => {}, args: tell });
      const piece = endless.repeat(500 / endless.length);
      parser.push(before + head);
      for (let pushed = 0; pushed < 100_000; pushed += 500) parser.push(piece);
      expect(told, before + JSON.stringify(endless)).toBeGreaterThan(100_000 - 70_000);
    }
  });
});
