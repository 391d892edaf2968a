import { Template } from "@huggingface/jinja";
import { LRUCache } from "lru-cache";
import { ControlText as ControlPolicy } from "../../../gen/ts/weir/catalog/v1/model_pb.ts";
import type { ControlText } from "./control-text.ts";
import { type TemplateInput, withArgumentValues } from "./template-messages.ts";

/** What a template is to make a prompt of: plain data, which another thread can be given. */
export interface RenderOrder {
  /** Beside the conversation: what the caller chose, and the tokens that the template writes itself. */
  readonly variables: Readonly<Record<string, unknown>>;
  readonly input: TemplateInput;
  /** What becomes of control tokens in the conversation. */
  readonly policy: ControlPolicy;
  /** What they are broken up by, where they are. */
  readonly splitter: string;
}

/** The prompt; or who spells a control token, as `messages[2]`; or why the template does not take the conversation. */
export type Rendered =
  | { readonly kind: "prompt"; readonly text: string }
  | { readonly kind: "spells"; readonly member: string }
  | { readonly kind: "failed"; readonly problem: string };

/** A template, and the digest that it is known by. */
export interface TemplateText {
  readonly source: string;
  readonly sha256: string;
}

/** A parsed template is some 100 kB; an installation has a few. */
const templatesMax = 64;
/** A template's own words of what is wrong fit; a message that it quotes does not. */
const problemMax = 200;

/** Templates that were parsed, by their digest. */
export class Templates {
  readonly #cache = new LRUCache<string, Template>({ max: templatesMax });

  /** Renders; what is wrong with the template or the conversation is told, not thrown. */
  render(template: TemplateText, control: ControlText, order: RenderOrder): Rendered {
    const values = withArgumentValues(order.input);
    const rendered = this.#render(template, control, { ...order, input: values });
    if (rendered.kind !== "prompt" || !rendered.text.includes(unprinted)) return rendered;
    if (!order.input.messages.some((message) => message.tool_calls)) return rendered;
    if (mentions(values)) {
      const without = this.#render(template, control, { ...order, input: unmentioned(values) });
      if (without.kind !== "prompt" || !without.text.includes(unprinted)) return rendered;
    }
    const ofTexts = this.#render(template, control, order);
    return ofTexts.kind === "failed" ? rendered : ofTexts;
  }

  #render(
    { source, sha256 }: TemplateText,
    control: ControlText,
    { variables, input, policy, splitter }: RenderOrder,
  ): Rendered {
    try {
      const template = this.#parse(source, sha256);
      const checked = checkedInput(input, control, policy, splitter);
      if (typeof checked === "string") return { kind: "spells", member: checked };
      return { kind: "prompt", text: template.render({ ...variables, ...checked, add_generation_prompt: true }) };
    } catch (error) {
      return { kind: "failed", problem: error instanceof Error ? error.message.slice(0, problemMax) : "unknown" };
    }
  }

  #parse(source: string, sha256: string): Template {
    const known = this.#cache.get(sha256);
    if (known) return known;
    const parsed = new Template(source);
    this.#cache.set(sha256, parsed);
    return parsed;
  }
}

// DeepSeek's own templates, and others, join arguments to a text as if they were one. What comes out then is no JSON but
// this. It is looked for in the prompt, as no look at the template tells which of its branches a conversation takes.
const unprinted = "[object Map]";

function mentions(input: TemplateInput): boolean {
  return JSON.stringify(input).includes(unprinted);
}

/** The same conversation, where nobody speaks of it. */
function unmentioned(input: TemplateInput): TemplateInput {
  return JSON.parse(JSON.stringify(input).replaceAll(unprinted, "")) as TemplateInput;
}

/** What the template is given. What callers write must not become what only the template may say. */
function checkedInput(
  input: TemplateInput,
  control: ControlText,
  policy: ControlPolicy,
  splitter: string,
): TemplateInput | string {
  if (policy === ControlPolicy.ALLOW) return input;
  const { messages, tools } = input;
  if (policy !== ControlPolicy.REJECT) {
    const neutral = (one: Record<string, unknown>) =>
      Object.fromEntries(Object.entries(one).map(([key, value]) => [key, control.neutral(value, splitter)]));
    return { messages: messages.map(neutral), tools: tools?.map(neutral) };
  }
  const spells = (one: Record<string, unknown>) => control.spells(Object.values(one));
  const index = messages.findIndex(spells);
  if (index >= 0) return `messages[${index}]`;
  const tool = tools?.findIndex(spells) ?? -1;
  return tool >= 0 ? `tools[${tool}]` : input;
}
