import { ToolParser } from "../../../gen/ts/weir/catalog/v1/model_pb.ts";
import { type Delta, type Finished, FinishReason } from "../../../gen/ts/weir/router/v1/event_pb.ts";
import type { IdSource } from "../../runtime/ids.ts";
import { delta } from "../../drivers/events.ts";
import type { AnswerParser, AnswerSink } from "./answer-sink.ts";
import { type AnswerForm, choiceParser } from "./choice-parser.ts";

/** Makes an id of a call. */
export type CallIds = (name: string, index: number) => string;

/** Reads the text of an answer as what it says: text, thought and calls. */
export class AnswerReader {
  readonly #choices: ChoiceReader[] = [];
  readonly #form: AnswerForm;
  readonly #ids: CallIds;

  constructor(form: AnswerForm, ids: CallIds) {
    this.#form = form;
    this.#ids = ids;
  }

  /**
   * What a piece of text turns out to be. The first of the deltas carries what came with the text: its tokens, their ids
   * and log probabilities; it is empty while it is not clear what the text is.
   */
  read(from: Delta): Delta[] {
    return this.#choice(from.choice).read(from);
  }

  /** Whether the newest piece of a choice was thought. */
  thinks(choice: number): boolean {
    return this.#choice(choice).thinks;
  }

  /** The choice ends: what was held back of it. */
  end(choice: number, reason: FinishReason): Delta[] {
    return this.#choice(choice).end(reason === FinishReason.LENGTH);
  }

  /** Why the choice ended: a model that has made calls is done with calling. */
  reasonOf({ choice, reason }: Finished): FinishReason {
    const called = reason === FinishReason.STOP && this.#choice(choice).calls > 0;
    return called ? FinishReason.TOOL_CALLS : reason;
  }

  #choice(index: number): ChoiceReader {
    return (this.#choices[index] ??= new ChoiceReader(index, this.#form, this.#ids));
  }
}

class ChoiceReader implements AnswerSink {
  thinks = false;
  calls = 0;
  readonly #choice: number;
  readonly #ids: CallIds;
  readonly #parser: AnswerParser;
  #deltas: Delta[] = [];

  constructor(choice: number, form: AnswerForm, ids: CallIds) {
    this.#choice = choice;
    this.#ids = ids;
    this.#parser = choiceParser(form, this);
  }

  read({ fragment, tokens, tokenIds, logprobs }: Delta): Delta[] {
    if (fragment.case === "text") this.#parser.push(fragment.value);
    const first = this.#deltas[0];
    if (first) this.thinks = first.fragment.case === "reasoning";
    const deltas = this.#take();
    const carrier = deltas[0] ?? delta(this.#choice, { case: "text", value: "" }, 0);
    carrier.tokens = tokens;
    carrier.tokenIds = tokenIds;
    carrier.logprobs = logprobs;
    return deltas.length > 0 ? deltas : [carrier];
  }

  end(cut: boolean): Delta[] {
    this.#parser.end(cut);
    return this.#take();
  }

  text(value: string): void {
    const last = this.#deltas.at(-1)?.fragment;
    if (last?.case === "text") last.value += value;
    else this.#say({ case: "text", value });
  }

  thought(value: string): void {
    const last = this.#deltas.at(-1)?.fragment;
    if (last?.case === "reasoning") last.value += value;
    else this.#say({ case: "reasoning", value });
  }

  call(name: string, id: string): void {
    const index = this.calls;
    this.calls += 1;
    this.#say(callFragment({ index, id: id || this.#ids(name, index), name, arguments: "" }));
  }

  args(text: string): void {
    const last = this.#deltas.at(-1)?.fragment;
    if (last?.case === "toolCall") last.value.arguments += text;
    else this.#say(callFragment({ index: this.calls - 1, id: "", name: "", arguments: text }));
  }

  #say(fragment: Delta["fragment"]): void {
    this.#deltas.push(delta(this.#choice, fragment, 0));
  }

  #take(): Delta[] {
    const deltas = this.#deltas;
    this.#deltas = [];
    return deltas;
  }
}

function callFragment(fragment: { index: number; id: string; name: string; arguments: string }): Delta["fragment"] {
  return { case: "toolCall", value: { $typeName: "weir.router.v1.ToolCallFragment", ...fragment } };
}

/** Ids of calls as the templates of a family take them back. */
export function callIds(parser: ToolParser, ids: Pick<IdSource, "short">): CallIds {
  switch (parser) {
    case ToolParser.MISTRAL:
      // Its templates refuse any other length.
      return () => ids.short(9);
    case ToolParser.KIMI:
      return (name, index) => `functions.${name}:${index}`;
    default:
      return () => `call_${ids.short(24)}`;
  }
}
