import type { CallFormat, CallWriter } from "./call-writer.ts";
import type { GrowingText, Reading } from "./growing-text.ts";

/** Markers around all calls of a turn, and the one that begins each. */
export interface SectionMarkers {
  readonly section: string;
  readonly sectionEnd: string;
  readonly begin: string;
}

/**
 * A format that writes its calls into a section. The section's own markers may be missing.
 *
 * @param call reads one call after its marker. False: it is none, and nothing was told of it.
 */
export function callSection(
  { section, sectionEnd, begin }: SectionMarkers,
  call: (text: GrowingText, out: CallWriter) => Reading<boolean>,
): CallFormat {
  const openers = [section, begin];
  return {
    openers,
    *read(text, out) {
      for (;;) {
        const which = yield* text.until(openers, out.text);
        if (which < 0) return;
        if (which === 0) text.skip(section.length);
        let calls = 0;
        for (;;) {
          text.mark();
          yield* text.space();
          if (!(yield* text.accept(begin)) || !(yield* call(text, out))) break;
          calls += 1;
        }
        text.rewind();
        if (calls > 0) {
          yield* text.space();
          yield* text.accept(sectionEnd);
        } else if (which === 0) out.text(section);
        else {
          out.text(begin);
          text.skip(begin.length);
        }
      }
    },
  };
}
