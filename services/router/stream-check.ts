import type { GenerateResponse } from "../../gen/ts/weir/router/v1/inference_service_pb.ts";
import type { Delta } from "../../gen/ts/weir/router/v1/event_pb.ts";

/**
 * Holds what an engine sends against the contract: choices that were asked for, nothing after a choice's end, each
 * choice ended once. Drivers are ours, engines are not.
 */
export interface StreamCheck {
  /** What is wrong with the next event; undefined: nothing. */
  problemOf(event: GenerateResponse): string | undefined;
  /** Whether every choice has ended. */
  readonly complete: boolean;
}

/** Builds the check of one attempt. */
export function createStreamCheck(choices: number): StreamCheck {
  const ended = new Array<boolean>(choices).fill(false);
  let open = choices;

  function problemOfChoice(choice: number, kind: string): string | undefined {
    if (choice < 0 || choice >= choices) return `${kind} of choice ${choice}, and ${choices} were asked for`;
    return ended[choice] ? `${kind} of choice ${choice} after its end` : undefined;
  }

  return {
    problemOf({ event }) {
      if (event.case === "delta") {
        // Some engines send an empty piece after the last: it says nothing, so it does no harm.
        return hasContent(event.value) ? problemOfChoice(event.value.choice, "a piece") : undefined;
      }
      if (event.case !== "finished") return undefined;
      const { choice } = event.value;
      const problem = problemOfChoice(choice, "the end");
      if (problem !== undefined) return problem;
      ended[choice] = true;
      open -= 1;
      return undefined;
    },
    get complete() {
      return open === 0;
    },
  };
}

/** Whether a caller can tell that the piece came. */
export function hasContent({ fragment, tokenIds, logprobs }: Delta): boolean {
  if (tokenIds.length > 0 || logprobs.length > 0) return true;
  if (fragment.case === undefined) return false;
  if (fragment.case !== "toolCall") return fragment.value !== "";
  const { id, name, arguments: text } = fragment.value;
  return id !== "" || name !== "" || text !== "";
}
