import { type Delta, type Finished, FinishReason } from "../../../gen/ts/weir/router/v1/event_pb.ts";
import type { ChoiceForm, Problem } from "./choice-form.ts";

/** How a form is checked. */
export interface FormRules {
  /** As errors call it. */
  readonly name: "json_object" | "json_schema" | "choice" | "regex";
  /**
   * Whether a text is given up as soon as it can't have its form. Where functions are offered it is not: an answer that
   * calls one needs no form, and may have said something before.
   */
  readonly early: boolean;
  /** For each choice of the answer. */
  readonly open: () => ChoiceForm;
}

/** The end of a choice. */
export interface FormEnd {
  /** Text that was held back. */
  readonly rest: string;
  /** Undefined: it has its form, or needs none. */
  readonly verdict: Problem | undefined | Promise<Problem | undefined>;
}

interface Checked {
  readonly form: ChoiceForm;
  called: boolean;
}

/**
 * Holds an answer to a form that its engine can't be held to. Only text is looked at, neither thought nor calls. A choice
 * is judged when its model was done: one that was cut, or has called a function, is what it is.
 */
export class FormCheck {
  readonly rules: FormRules;
  readonly #choices: Checked[] = [];

  constructor(rules: FormRules) {
    this.rules = rules;
  }

  /** Takes out of a piece what is not passed on. Returns what is wrong with the answer, if that is clear by now. */
  read({ choice, fragment }: Delta): Problem | undefined {
    const checked = this.#choice(choice);
    if (fragment.case === "toolCall") checked.called = true;
    if (fragment.case !== "text") return undefined;
    fragment.value = checked.form.push(fragment.value);
    return this.rules.early ? checked.form.problem : undefined;
  }

  /** Whether the choice is complete, and what still comes is not part of it. */
  isOver(choice: number): boolean {
    return this.#choices[choice]?.form.over ?? false;
  }

  /** What was held back of a choice that is cut. */
  flush(choice: number): string {
    return this.#choice(choice).form.flush();
  }

  /** The choice has ended. */
  end({ choice, reason }: Finished): FormEnd {
    const { form, called } = this.#choice(choice);
    const judged = reason === FinishReason.STOP && !called;
    const verdict = judged ? form.verdict() : undefined;
    return { rest: typeof verdict === "string" ? "" : form.flush(), verdict };
  }

  #choice(index: number): Checked {
    return (this.#choices[index] ??= { form: this.rules.open(), called: false });
  }
}
