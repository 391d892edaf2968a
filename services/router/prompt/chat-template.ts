import { Template } from "@huggingface/jinja";
import { LRUCache } from "lru-cache";
import { type ChatTemplate, ControlText as ControlPolicy } from "../../../gen/ts/weir/catalog/v1/model_pb.ts";
import { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import type { GenerateRequest } from "../../../gen/ts/weir/router/v1/inference_service_pb.ts";
import { fail, WeirError } from "../../runtime/errors/fail.ts";
import { refuse } from "../refused-members.ts";
import { ControlText, unseen } from "./control-text.ts";
import { type TemplateInput, templateInput } from "./template-messages.ts";

/** Turns conversations into prompts for engines that take plain text. */
export interface PromptRenderer {
  /**
   * The prompt, up to where the assistant speaks. CHAT_TEMPLATE_FAILED if the template does not take the messages,
   * INVALID_ARGUMENT if they spell a control token and may not.
   *
   * @param settings what the caller may choose of the template's variables.
   * @param policy what becomes of control tokens in the messages.
   * @param splitter what they are broken up by, where they are.
   */
  render(
    template: ChatTemplate,
    request: GenerateRequest,
    settings: Readonly<Record<string, unknown>>,
    policy: ControlPolicy,
    splitter?: string,
  ): string | WeirError;
}

/** A parsed template is some 100 kB; an installation has a few. */
const templatesMax = 64;
/** A template's own words of what is wrong fit; a message that it quotes does not. */
const problemMax = 200;

interface Parsed {
  readonly template: Template;
  readonly knowsDeveloper: boolean;
}

/** Builds a renderer that keeps the templates that it has parsed, by their digest. */
export function createPromptRenderer(): PromptRenderer {
  const cache = new LRUCache<string, Parsed>({ max: templatesMax });
  /** Beside the templates: one may come with the tokens of several models. */
  const controls = new WeakMap<ChatTemplate, ControlText>();

  function controlOf(template: ChatTemplate): ControlText {
    const known = controls.get(template);
    if (known) return known;
    const control = new ControlText(template.controlTokens);
    controls.set(template, control);
    return control;
  }

  function parse({ source, sha256 }: ChatTemplate): Parsed {
    const known = cache.get(sha256);
    if (known) return known;
    const parsed = { template: new Template(source), knowsDeveloper: source.includes("developer") };
    cache.set(sha256, parsed);
    return parsed;
  }

  return {
    render(chatTemplate, request, settings, policy, splitter = unseen) {
      try {
        const { template, knowsDeveloper } = parse(chatTemplate);
        const input = checked(templateInput(request, knowsDeveloper), controlOf(chatTemplate), policy, splitter);
        if (input instanceof WeirError) return input;
        return template.render({
          ...settings,
          ...(request.reasoningEffort ? { reasoning_effort: request.reasoningEffort } : {}),
          ...chatTemplate.specialTokens,
          ...input,
          add_generation_prompt: true,
        });
      } catch (error) {
        const problem = error instanceof Error ? error.message.slice(0, problemMax) : "unknown";
        return fail(ErrorReason.CHAT_TEMPLATE_FAILED, { model: request.model, problem });
      }
    },
  };
}

/** What the template is given. What callers write must not become what only the template may say. */
function checked(
  input: TemplateInput,
  control: ControlText,
  policy: ControlPolicy,
  splitter: string,
): TemplateInput | WeirError {
  if (policy === ControlPolicy.ALLOW) return input;
  const { messages, tools } = input;
  if (policy !== ControlPolicy.REJECT) {
    const neutral = (one: Record<string, unknown>) =>
      Object.fromEntries(Object.entries(one).map(([key, value]) => [key, control.neutral(value, splitter)]));
    return { messages: messages.map(neutral), tools: tools?.map(neutral) };
  }
  const spells = (one: Record<string, unknown>) => control.spells(Object.values(one));
  const index = messages.findIndex(spells);
  const problem = "spells a control token of the model";
  if (index >= 0) return refuse(`messages[${index}]`, "invalid_value", problem);
  const tool = tools?.findIndex(spells) ?? -1;
  return tool >= 0 ? refuse(`tools[${tool}]`, "invalid_value", problem) : input;
}
