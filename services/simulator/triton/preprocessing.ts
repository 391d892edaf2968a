import type { Inputs } from "./inputs.ts";
import type { Inference, Reply } from "./reply.ts";
import { numbers } from "./tensors.ts";

/** What tokens are made of: a word with the space before it, a mark, or a byte of a character. */
const piece = / ?[a-z]+|[^]/gu;

/** What a tokenizer puts before each prompt: a token for the beginning. */
const beginning = 1;

/** Tells how many tokens a text is, as those that answers are made of, and one more; and the ids of none. */
export function preprocess(inputs: Inputs, reply: Reply): Inference {
  const texts = inputs.texts("QUERY");
  const lengths = texts.map((text) => (text.match(piece) ?? []).reduce((sum, one) => sum + tokensOf(one), beginning));
  reply.data(
    [
      numbers(
        "INPUT_ID",
        "INT32",
        [texts.length, 1],
        lengths.map(() => 0),
      ),
      numbers("REQUEST_INPUT_LEN", "INT32", [texts.length, 1], lengths),
    ],
    true,
  );
  reply.over();
  return { callerLeft: () => undefined };
}

function tokensOf(text: string): number {
  return /^ ?[a-z]+$/.test(text) ? 1 : Buffer.byteLength(text);
}
