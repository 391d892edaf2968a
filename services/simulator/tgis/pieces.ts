/** What byte-level vocabularies write for each byte: printable ones stand for themselves, the others are moved up. */
const pieceOfByte: readonly string[] = (() => {
  let moved = 0;
  return Array.from({ length: 256 }, (_, byte) => {
    const printable = (byte > 32 && byte < 127) || (byte > 160 && byte !== 173);
    return String.fromCodePoint(printable ? byte : 256 + moved++);
  });
})();

/** A token as its vocabulary has it: "Ġriver" for " river". */
export function pieceOf(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => pieceOfByte[byte]).join("");
}

/** The pieces of a text, and where each begins and ends in it, in characters. */
export function piecesOf(text: string): { readonly piece: string; readonly start: number; readonly end: number }[] {
  const bytes = Buffer.from(text);
  const pieces = [];
  for (let at = 0; at < bytes.length; at += 4) {
    const token = bytes.subarray(at, at + 4);
    const start = bytes.toString("utf8", 0, at).length;
    pieces.push({ piece: pieceOf(token), start, end: bytes.toString("utf8", 0, at + token.length).length });
  }
  return pieces;
}
