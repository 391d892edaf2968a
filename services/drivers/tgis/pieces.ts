import { bytesOfToken } from "../logprob.ts";

/**
 * How a vocabulary writes its tokens: bytes as characters of their own (" river" is "Ġriver"), or text with a mark for
 * the space ("▁river") and single bytes as "<0x0A>".
 */
export type PieceForm = "byte-level" | "sentencepiece";

/** A text whose pieces show the form. */
export const telling = " a weir";

/** Finds the form by the pieces of {@link telling}. */
export function pieceFormOf(pieces: readonly string[]): PieceForm | undefined {
  if (pieces.some((piece) => piece.startsWith("Ġ"))) return "byte-level";
  if (pieces.some((piece) => piece.startsWith("▁"))) return "sentencepiece";
  return undefined;
}

/** The bytes that a token stands for. */
export function bytesOfPiece(form: PieceForm, piece: string): Uint8Array<ArrayBuffer> {
  return form === "byte-level" ? bytesOfByteLevel(piece) : bytesOfSentencePiece(piece);
}

/** Printable bytes stand for themselves, the others are moved up in their order. */
const byteOfCharacter: ReadonlyMap<string, number> = (() => {
  const bytes = new Map<string, number>();
  let moved = 0;
  for (let byte = 0; byte < 256; byte += 1) {
    const isPrintable = (byte > 32 && byte < 127) || (byte > 160 && byte !== 173);
    bytes.set(String.fromCodePoint(isPrintable ? byte : 256 + moved++), byte);
  }
  return bytes;
})();

function bytesOfByteLevel(piece: string): Uint8Array<ArrayBuffer> {
  const characters = Array.from(piece);
  const bytes = characters.map((character) => byteOfCharacter.get(character));
  // Marks of the model, such as those of its chat template, are written as they are.
  if (bytes.includes(undefined)) return bytesOfToken(piece);
  return Uint8Array.from(bytes, Number);
}

function bytesOfSentencePiece(piece: string): Uint8Array<ArrayBuffer> {
  const byte = /^<0x([0-9A-F]{2})>$/.exec(piece)?.[1];
  if (byte !== undefined) return Uint8Array.of(Number.parseInt(byte, 16));
  return bytesOfToken(piece.replaceAll("▁", " "));
}
