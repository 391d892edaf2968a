import type { Outcome } from "./attempts.ts";

/** Two characters of the text that came in different deltas, neither broken nor split over tokens. */
export function seamOf(outcome: Outcome): string {
  const pieces = outcome.deltas.map((delta) => String(delta.fragment.value)).filter((piece) => piece !== "");
  for (let at = 1; at + 1 < pieces.length; at += 1) {
    const seam = `${pieces[at]?.slice(-1)}${pieces[at + 1]?.slice(0, 1)}`;
    if (/^[\x20-\x7e]{2}$/.test(seam)) return seam;
  }
  throw new Error(`no seam in ${JSON.stringify(pieces)}`);
}

/** The text without the characters that an engine may break over tokens. */
export function withoutBroken(text: string): string {
  return text.replace(/[^\x20-\x7e]+/g, "");
}
