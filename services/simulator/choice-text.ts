import { StringDecoder } from "node:string_decoder";

/** A choice's text as it grows from bytes: whole characters only, and nothing of a stop text. */
export interface ChoiceText {
  /** What may be shown after these bytes, and the stop text that was found, if one was. */
  push(bytes: Buffer): { readonly text: string; readonly stop: string | undefined };
  /** What was held back, when the choice ends by itself. */
  end(): string;
}

/** Follows one choice. Text that could be the beginning of a stop text is held back until it is clear. */
export function createChoiceText(stops: readonly string[]): ChoiceText {
  const decoder = new StringDecoder("utf8");
  let held = "";
  return {
    push(bytes) {
      held += decoder.write(bytes);
      const found = stops
        .map((stop) => ({ stop, at: held.indexOf(stop) }))
        .filter(({ at }) => at >= 0)
        .sort((a, b) => a.at - b.at)[0];
      if (found) return { text: held.slice(0, found.at), stop: found.stop };
      const keep = Math.max(0, ...stops.map((stop) => overlap(held, stop)));
      const text = held.slice(0, held.length - keep);
      held = held.slice(held.length - keep);
      return { text, stop: undefined };
    },
    end() {
      const rest = held + decoder.end();
      held = "";
      return rest;
    },
  };
}

/** How many characters at the end of `text` begin `stop`. */
function overlap(text: string, stop: string): number {
  for (let n = Math.min(text.length, stop.length - 1); n > 0; n--) if (text.endsWith(stop.slice(0, n))) return n;
  return 0;
}
