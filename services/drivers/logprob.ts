/** What a probability of nothing is written as, because JSON has no infinity. vLLM writes it so over HTTP. */
export const logprobLeast = -9_999;

const encoder = new TextEncoder();

/** The bytes of a token, where an engine tells its text only. */
export function bytesOfToken(text: string): Uint8Array<ArrayBuffer> {
  return encoder.encode(text);
}
