import { Template } from "@huggingface/jinja";
import { LRUCache } from "lru-cache";
import type { ChatTemplate } from "../../../gen/ts/weir/catalog/v1/model_pb.ts";
import { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import type { GenerateRequest } from "../../../gen/ts/weir/router/v1/inference_service_pb.ts";
import { fail, type WeirError } from "../../runtime/errors/fail.ts";
import { templateInput } from "./template-messages.ts";

/** Turns conversations into prompts for engines that take plain text. */
export interface PromptRenderer {
  /**
   * The prompt, up to where the assistant speaks. CHAT_TEMPLATE_FAILED if the template does not take the messages.
   *
   * @param settings what the caller may choose of the template's variables.
   */
  render(
    template: ChatTemplate,
    request: GenerateRequest,
    settings: Readonly<Record<string, unknown>>,
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

  function parse({ source, sha256 }: ChatTemplate): Parsed {
    const known = cache.get(sha256);
    if (known) return known;
    const parsed = { template: new Template(source), knowsDeveloper: source.includes("developer") };
    cache.set(sha256, parsed);
    return parsed;
  }

  return {
    render(chatTemplate, request, settings) {
      try {
        const { template, knowsDeveloper } = parse(chatTemplate);
        return template.render({
          ...settings,
          ...(request.reasoningEffort ? { reasoning_effort: request.reasoningEffort } : {}),
          ...chatTemplate.specialTokens,
          ...templateInput(request, knowsDeveloper),
          add_generation_prompt: true,
        });
      } catch (error) {
        const problem = error instanceof Error ? error.message.slice(0, problemMax) : "unknown";
        return fail(ErrorReason.CHAT_TEMPLATE_FAILED, { model: request.model, problem });
      }
    },
  };
}
