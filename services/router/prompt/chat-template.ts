import type { ChatTemplate, ControlText as ControlPolicy } from "../../../gen/ts/weir/catalog/v1/model_pb.ts";
import { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import type { GenerateRequest } from "../../../gen/ts/weir/router/v1/inference_service_pb.ts";
import { fail, type WeirError } from "../../runtime/errors/fail.ts";
import { refuse } from "../refused-members.ts";
import { ControlText, unseen } from "./control-text.ts";
import { promptBytes } from "./prompt-bytes.ts";
import { type Rendered, type RenderOrder, Templates } from "./rendering.ts";
import { RenderingThread } from "./rendering-thread.ts";
import { templateInput } from "./template-messages.ts";

/** The prompt, or what is wrong with the conversation. */
export type Prompt = string | WeirError;

/** A prompt that another thread makes. */
export interface PendingPrompt {
  readonly prompt: Promise<Prompt>;
  /** Nobody waits for it any more. */
  readonly drop: () => void;
}

/** Whether a prompt has to be waited for. */
export function isPending(prompt: Prompt | PendingPrompt): prompt is PendingPrompt {
  return typeof prompt === "object" && "drop" in prompt;
}

/** Turns conversations into prompts for engines that take plain text. */
export interface PromptRenderer extends AsyncDisposable {
  /**
   * The prompt, up to where the assistant speaks; a long conversation's is made by another thread.
   * CHAT_TEMPLATE_FAILED if the template does not take the messages, INVALID_ARGUMENT if they spell a control token and
   * may not.
   *
   * @param owner who waits for whom where many conversations are long.
   * @param settings what the caller may choose of the template's variables.
   * @param policy what becomes of control tokens in the messages.
   * @param splitter what they are broken up by, where they are.
   */
  render(
    owner: string,
    template: ChatTemplate,
    request: GenerateRequest,
    settings: Readonly<Record<string, unknown>>,
    policy: ControlPolicy,
    splitter?: string,
  ): Prompt | PendingPrompt;
}

/** More are long: they take some 4 ms. */
const messagesMax = 200;
/** Characters take less, unless they spell control tokens: then 64 KiB take as long. */
const bytesMax = 65_536;

/** Builds it. */
export function createPromptRenderer(): PromptRenderer {
  const templates = new Templates();
  const thread = new RenderingThread();
  const controls = new WeakMap<ChatTemplate, ControlText>();

  function controlOf(template: ChatTemplate): ControlText {
    const known = controls.get(template);
    if (known) return known;
    const control = new ControlText(template.controlTokens);
    controls.set(template, control);
    return control;
  }

  return {
    render(owner, template, request, settings, policy, splitter = unseen) {
      const { source, sha256, controlTokens } = template;
      const input = templateInput(request, source.includes("developer"));
      const effort = request.reasoningEffort ? { reasoning_effort: request.reasoningEffort } : {};
      const variables = { ...settings, ...effort, ...template.specialTokens };
      const order: RenderOrder = { variables, input, policy, splitter };
      if (!isLong(request)) return told(templates.render(template, controlOf(template), order), request.model);
      const { input: _, ...rest } = order;
      const job = { source, sha256, controlTokens, order: rest, inputJson: JSON.stringify(input) };
      const { rendered, drop } = thread.render(owner, job);
      return { prompt: rendered.then((ready) => told(ready, request.model)), drop };
    },
    [Symbol.asyncDispose]: () => thread[Symbol.asyncDispose](),
  };
}

function isLong(request: GenerateRequest): boolean {
  const { input } = request;
  if (input.case !== "conversation") return false;
  let messages = 0;
  for (const { toolCalls } of input.value.messages) messages += 1 + toolCalls.length;
  return messages > messagesMax || promptBytes(request).bytes > bytesMax;
}

function told(rendered: Rendered, model: string): Prompt {
  if (rendered.kind === "prompt") return rendered.text;
  if (rendered.kind === "spells")
    return refuse(rendered.member, "invalid_value", "spells a control token of the model");
  return fail(ErrorReason.CHAT_TEMPLATE_FAILED, { model, problem: rendered.problem });
}
