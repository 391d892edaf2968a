import { expect } from "vitest";
import { textFrom } from "../../services/simulator/text.ts";
import type { GenerationLine, Gateway } from "../fakes/gateway.ts";
import type { RawReply, RawRequest } from "../fakes/raw-request.ts";
import type { RecordTail } from "../fakes/record-tail.ts";
import type { SimulatorProcess } from "../fakes/simulator-process.ts";
import { eventually } from "../rpc/eventually.ts";

/** Each kind of engine's model at the pools of a name: `<name>-http`, `<name>-ensemble`, `<name>-vllm`. */
export const kinds = ["http", "ensemble", "vllm"] as const;
export type Kind = (typeof kinds)[number];

/** A configuration with these pools. */
export function yamlFor(
  pools: readonly {
    readonly name: string;
    readonly engines: readonly Pick<SimulatorProcess, "httpUrl" | "grpcUrl">[];
    /** The pool's time limits, as members of YAML: `idle_timeout: 1s`. */
    readonly times?: string;
  }[],
): string {
  const lines = pools.flatMap(({ name, engines, times }) => {
    const more = times === undefined ? "" : `, ${times}`;
    const replicas = (url: "httpUrl" | "grpcUrl") => engines.map((each) => `{ url: "${each[url]}" }`).join(", ");
    return [
      `  - { id: ${name}-http, replicas: [${replicas("httpUrl")}]${more} }`,
      `  - { id: ${name}-triton, replicas: [${replicas("grpcUrl")}]${more} }`,
    ];
  });
  const models = pools.flatMap(({ name }) => [
    `  - { id: ${name}-http, pool: ${name}-http, engine_model: weir-sim }`,
    `  - { id: ${name}-ensemble, pool: ${name}-triton, engine_model: ensemble }`,
    `  - { id: ${name}-vllm, pool: ${name}-triton, engine_model: vllm_model }`,
  ]);
  return `pools:\n${lines.join("\n")}\nmodels:\n${models.join("\n")}\nprobe: { interval: 500ms, timeout: 2s }\n`;
}

interface Wish {
  readonly model: string;
  readonly prompt: string;
  readonly stream: boolean;
  readonly max_tokens?: number;
  readonly min_tokens?: number;
}

/** Sends a prompt; its answer has 12 tokens unless the wish says otherwise. */
export const send = (wish: Wish, through: Gateway): RawRequest =>
  through.ask("/v1/completions", { seed: 1, max_tokens: 12, min_tokens: 12, ...wish });

/** What the model says to a prompt, up to so many tokens. */
export function textOf(prompt: string, tokens: number): string {
  const text = textFrom(prompt, 131n);
  return Buffer.concat(Array.from({ length: tokens }, () => text.next().value.bytes)).toString("utf8");
}

/** An ensemble loses a character that is split over tokens. */
export const plain = (text: string) => text.replace(/[^\x20-\x7e]+/g, "");

/** The line that the gateway logged of an answer; a stream's status does not tell how it ended, this does. */
export async function lineOf(reply: RawReply | undefined, through: Gateway): Promise<GenerationLine> {
  const id = reply?.headers.get("x-request-id");
  const find = () => through.generations().find((line) => line.request_id === id);
  await eventually(`a line of ${id}`, () => find() !== undefined);
  return find() as GenerationLine;
}

/** Nothing runs, neither at the engines nor in the gateway. */
export async function nothingIsLeft(through: Gateway, engines: readonly RecordTail[]): Promise<void> {
  await eventually("the engine has nothing left", () => engines.every((each) => each.open().length === 0));
  expect(await through.gauge("weir_requests_in_flight")).toBe(0);
  expect(await through.gauge("weir_requests_queued")).toBe(0);
}

/** An answer that fails before anything was sent: its own status, and one error as OpenAI's API has it. */
export function expectRefusal(reply: RawReply | undefined, status: number, code: string): void {
  expect([reply?.status, reply?.whole]).toEqual([status, true]);
  const { error } = JSON.parse(reply?.body ?? "{}");
  expect(Object.keys(error).sort()).toEqual(["code", "message", "param", "type"]);
  expect([error.code, error.type]).toEqual([code, "server_error"]);
  expect(reply?.body).not.toMatch(/127\.0\.0\.1|Error:|\bat \//);
}
