/** More than any published tokenizer has; a longer one is no token. */
const tokensMax = 4_096;
const lengthMax = 64;

/** Forms that templates write control tokens in: <|im_start|>, <｜User｜>, [INST], <start_of_turn>, <<SYS>>. */
const forms = [
  /<\|[^\s<>|'"]{1,60}\|>/gu,
  /<｜[^\s<>'"]{1,60}｜>/gu,
  /\[\/?[A-Z][A-Z_]{1,40}\]/gu,
  /<(?:start|end)_of_[a-z_]{1,30}>/gu,
  /<<\/?SYS>>/gu,
];

/**
 * Texts that an engine would take for control tokens: what the tokenizer calls special, and what the template itself
 * writes in the forms that such tokens have.
 *
 * @param special the tokenizer's own.
 */
export function controlTokens(source: string, special: readonly string[]): string[] {
  const found = forms.flatMap((form) => source.match(form) ?? []);
  const tokens = [...special, ...found].filter((token) => token.trim().length > 1 && token.length <= lengthMax);
  return [...new Set(tokens)].slice(0, tokensMax);
}
