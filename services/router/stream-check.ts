import type { Delta } from "../../gen/ts/weir/router/v1/event_pb.ts";
import type { GenerateResponse } from "../../gen/ts/weir/router/v1/inference_service_pb.ts";

/**
 * Holds what an engine sends against the contract: choices that were asked for, nothing after a choice's end, each
 * choice ended once. Drivers are ours, engines are not.
 */
export interface StreamCheck {
  /** What is wrong with the next event; undefined: nothing. */
  problemOf(event: GenerateResponse): string | undefined;
  /** Whether every choice has ended. */
  readonly complete: boolean;
  /** The choices that have not. */
  unfinished(): number[];
}

/** Builds the check of one attempt. */
export function createStreamCheck(choices: number): StreamCheck {
  return new ChoicesCheck(choices);
}

class ChoicesCheck implements StreamCheck {
  readonly #choices: number;
  readonly #ended: boolean[];
  #open: number;

  constructor(choices: number) {
    this.#choices = choices;
    this.#ended = new Array<boolean>(choices).fill(false);
    this.#open = choices;
  }

  get complete(): boolean {
    return this.#open === 0;
  }

  unfinished(): number[] {
    return this.#ended.flatMap((ended, choice) => (ended ? [] : choice));
  }

  problemOf({ event }: GenerateResponse): string | undefined {
    if (event.case === "delta") {
      // Some engines send an empty piece after the last: it says nothing, so it does no harm.
      return hasContent(event.value) ? this.#problemOfChoice(event.value.choice, "a piece") : undefined;
    }
    if (event.case !== "finished") return undefined;
    const { choice } = event.value;
    const problem = this.#problemOfChoice(choice, "the end");
    if (problem !== undefined) return problem;
    this.#ended[choice] = true;
    this.#open -= 1;
    return undefined;
  }

  #problemOfChoice(choice: number, kind: string): string | undefined {
    if (choice < 0 || choice >= this.#choices)
      return `${kind} of choice ${choice}, and ${this.#choices} were asked for`;
    return this.#ended[choice] ? `${kind} of choice ${choice} after its end` : undefined;
  }
}

/** Whether a caller can tell that the piece came. */
export function hasContent({ fragment, tokenIds, logprobs }: Delta): boolean {
  if (tokenIds.length > 0 || logprobs.length > 0) return true;
  if (fragment.case === undefined) return false;
  if (fragment.case !== "toolCall") return fragment.value !== "";
  const { id, name, arguments: text } = fragment.value;
  return id !== "" || name !== "" || text !== "";
}
