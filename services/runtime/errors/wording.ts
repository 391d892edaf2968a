import type { Metadata } from "./table.ts";

/** What messages of several reasons say, or what is long. */

export const of = (m: Metadata, key: string, otherwise: string) => m[key] ?? otherwise;
export const soon = "Try again shortly.";
export const logged = "Tell the operator to look at the gateway's log.";
export const tokenizer = (m: Metadata) => `The tokenizer of model \`${of(m, "model", "?")}\``;
export const idsOnly = (m: Metadata) => `Model \`${of(m, "model", "?")}\` takes token ids only and has no tokenizer.`;
export const setTokenizer = "Tell the operator to set `tokenizer` for the model (or start with --tokenizer).";
export const engine = (m: Metadata) => `The engine of model \`${of(m, "model", "?")}\``;
export const strayed = (m: Metadata) =>
  `The answer is not what was asked for (${of(m, "form", "?")}): ${of(m, "problem", "?")}. ${engine(m)} can't be held to it. Send the request again, and say in the prompt what the answer must look like.`;
export const overlong = (m: Metadata) =>
  `The answer of model \`${of(m, "model", "?")}\` is longer than ${of(m, "limit", "?")} bytes, and no more is taken. Ask for less: fewer inputs, choices, tokens or log probabilities; or let it stream.${m["setting"] ? ` Or tell the operator to raise \`${m["setting"]}\` of the pool.` : ""}`;
export const setAside = (m: Metadata) => `Delivery \`${of(m, "id", "?")}\` was set aside: ${of(m, "problem", "?")}.`;
export const deadly = (m: Metadata) =>
  `The last ${of(m, "crashes", "2")} engines of model \`${of(m, "model", "?")}\` that were given this very request went away with it: it is refused for ${Math.ceil(Number(of(m, "for_ms", "0")) / 1_000)} s. Don't send it again as it is: change it, or ask the operator what took them down.`;
export const uncontrolled = (m: Metadata) => `The engine takes no orders about its models: ${of(m, "problem", "?")}.`;
