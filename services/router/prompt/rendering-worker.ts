import { parentPort } from "node:worker_threads";
import { ControlText } from "./control-text.ts";
import { Templates } from "./rendering.ts";
import type { FromRenderer, ToRenderer } from "./rendering-messages.ts";
import type { TemplateInput } from "./template-messages.ts";

// A thread of its own for long conversations: a template takes some 20 us a message, and no stream waits for that.

const templates = new Templates();

parentPort?.on("message", ({ number, source, sha256, controlTokens, order, inputJson }: ToRenderer) => {
  const input = JSON.parse(inputJson) as TemplateInput;
  const rendered = templates.render({ source, sha256 }, new ControlText(controlTokens), { ...order, input });
  parentPort?.postMessage({ number, rendered } satisfies FromRenderer);
});
