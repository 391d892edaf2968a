import { create } from "@bufbuild/protobuf";
import type { ReasoningParser, ToolParser } from "../../../../../gen/ts/weir/catalog/v1/model_pb.ts";
import { type Tool, ToolSchema } from "../../../../../gen/ts/weir/router/v1/message_pb.ts";

/** An answer as a model writes it, and what it says. */
export interface Transcript {
  readonly name: string;
  readonly tools?: ToolParser;
  readonly thinks?: ReasoningParser;
  /** What the model continued. */
  readonly prompt?: string;
  readonly written: string;
  /** It ended by a limit on its length. */
  readonly cut?: boolean;
  readonly text?: string;
  readonly thought?: string;
  /** Name, arguments as text, and the model's id. */
  readonly calls?: readonly (readonly [string, string, string?])[];
}

const schema = (properties: unknown) => JSON.stringify({ type: "object", properties });

/** What the requests of the transcripts offer. */
export const offered: readonly Tool[] = [
  create(ToolSchema, {
    name: "gauge",
    parametersJson: schema({
      river: { type: "string" },
      days: { type: "integer" },
      exact: { type: "boolean" },
      depths: { type: "array", items: { type: "number" } },
      at: { type: "object" },
      note: { type: ["string", "null"] },
      limit: { anyOf: [{ type: "number" }, { type: "null" }] },
    }),
  }),
  create(ToolSchema, {
    name: "survey",
    parametersJson: JSON.stringify({
      $ref: "#/$defs/Survey",
      $defs: {
        Survey: {
          type: "object",
          properties: {
            place: { $ref: "#/$defs/a~1place" },
            method: { anyOf: [{ $ref: "#/$defs/Method" }, { type: "null" }] },
            tags: { allOf: [{ $ref: "#/$defs/Tags" }, { description: "words" }] },
            unit: { const: "m" },
            either: { anyOf: [{ type: "integer" }, { description: "anything" }] },
            far: { $ref: "https://example.com/place.json" },
            round: { $ref: "#/$defs/Round" },
          },
        },
        "a/place": { type: "object", properties: { x: { type: "number" } } },
        Method: { type: "object" },
        Tags: { type: "array" },
        Round: { anyOf: Array.from({ length: 20 }, () => ({ $ref: "#/$defs/Round" })) },
      },
    }),
  }),
  create(ToolSchema, { name: "open_gate", parametersJson: schema({ gate: { type: "string" } }) }),
  create(ToolSchema, { name: "ping", parametersJson: "" }),
];

/** Arguments of `gauge`. */
export const elbe = '{"river": "Elbe", "days": 3}';

/** Answers of models that write their calls in one way. */
export function written(tools: ToolParser, rows: readonly Transcript[]): Transcript[] {
  return rows.map((row) => ({ ...row, tools }));
}
