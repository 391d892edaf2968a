/** How a tokenizer makes bytes of a token, step by step. */
export type TokenStep =
  /** Each character stands for a byte, as in GPT-2's vocabulary. */
  | { readonly kind: "byte_level" }
  /** One text stands for another: mostly U+2581 for a space. */
  | { readonly kind: "replace"; readonly pattern: string; readonly content: string }
  /** <0xE2> stands for a byte. */
  | { readonly kind: "byte_fallback" };

/** How a tokenizer makes a text of tokens. */
export interface TokenDecoder {
  readonly steps: readonly TokenStep[];
  /** What is taken off the beginning of the whole text: at most so many spaces, of the first token only or of any. */
  readonly head: { readonly spaces: number; readonly firstTokenOnly: boolean };
}

const spacesMax = 1_024;
const keepsHead = { spaces: 0, firstTokenOnly: false };

/**
 * Reads the decoder of a tokenizer.json.
 *
 * @returns the name of the part that no text can be streamed from, where there is one.
 */
export function tokenDecoderOf(decoder: unknown): TokenDecoder | string {
  const steps: TokenStep[] = [];
  let head: TokenDecoder["head"] = keepsHead;
  for (const part of partsOf(decoder)) {
    const type = String(part.get("type"));
    const replacement = part.get("replacement");
    if (type === "ByteLevel") steps.push({ kind: "byte_level" });
    else if (type === "ByteFallback") steps.push({ kind: "byte_fallback" });
    else if (type === "Replace") {
      const [pattern, content] = [membersOf(part.get("pattern"))?.get("String"), part.get("content")];
      if (typeof pattern !== "string" || typeof content !== "string") return "Replace with a pattern that is no text";
      steps.push({ kind: "replace", pattern, content });
    } else if (type === "Metaspace" && typeof replacement === "string") {
      steps.push({ kind: "replace", pattern: replacement, content: " " });
      const keeps = part.get("prepend_scheme") === "never" || part.get("add_prefix_space") === false;
      if (!keeps) head = { spaces: spacesMax, firstTokenOnly: true };
    } else if (type === "Strip" && part.get("content") === " " && part.get("stop") === 0) {
      head = { spaces: Number(part.get("start")), firstTokenOnly: false };
    } else if (type !== "Fuse") return type;
  }
  return steps.length === 0 ? "nothing" : { steps, head };
}

function partsOf(decoder: unknown): readonly ReadonlyMap<string, unknown>[] {
  const members = membersOf(decoder);
  if (members === undefined) return [];
  const inner = members.get("decoders");
  if (members.get("type") !== "Sequence" || !Array.isArray(inner)) return [members];
  return (inner as readonly unknown[]).flatMap((one) => partsOf(one));
}

/** The members of a JSON object; undefined for any other value. */
export function membersOf(value: unknown): ReadonlyMap<string, unknown> | undefined {
  const isObject = typeof value === "object" && value !== null && !Array.isArray(value);
  return isObject ? new Map<string, unknown>(Object.entries(value)) : undefined;
}
