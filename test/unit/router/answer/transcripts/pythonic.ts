import { ToolParser } from "../../../../../gen/ts/weir/catalog/v1/model_pb.ts";
import { type Transcript, written } from "./transcript.ts";

/** Answers of Llama 4. */
export const pythonic: readonly Transcript[] = written(ToolParser.PYTHONIC, [
  {
    name: "every kind of value",
    written: `[gauge(river='El"be\\n', days=3, exact=True, depths=[1, -2.5, .5,], at={"x": None, 'y': (1, 2)}), ping()]`,
    calls: [
      [
        "gauge",
        '{"river": "El\\"be\\n", "days": 3, "exact": true, "depths": [1, -2.5, 0.5], "at": {"x": null, "y": [1, 2]}}',
      ],
      ["ping", "{}"],
    ],
  },
  { name: "with the marks of Llama 4", written: "<|python_start|>[ping()]<|python_end|>", calls: [["ping", "{}"]] },
  {
    name: "escapes",
    written: `[open_gate(gate="\\u6c34\\x41\\q\\'\\U0001f30a")]`,
    calls: [["open_gate", `{"gate": "\\u6c34\\u0041\\\\q'🌊"}`]],
  },
  { name: "a list is text", written: "[1, 2]", text: "[1, 2]" },
  { name: "another function is text", written: "[print(a=1)]", text: "[print(a=1)]" },
  { name: "positions are text", written: '[open_gate("n=1")]', text: '[open_gate("n=1")]' },
  { name: "a link is text", written: "[gauge](https://a.example/?b=1)", text: "[gauge](https://a.example/?b=1)" },
  { name: "cut in a string", written: "[open_gate(gate='no", cut: true, calls: [["open_gate", '{"gate": "no']] },
  { name: "cut in a number", written: "[gauge(days=1", cut: true, calls: [["gauge", '{"days": 1']] },
  {
    name: "what is no literal stays as it was written",
    written: "[gauge(days=today())]",
    calls: [["gauge", '{"days": today())]']],
  },
  { name: "text", written: " The level is fine.", text: " The level is fine." },
]);
