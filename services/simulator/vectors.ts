import { hashOf, randomFrom } from "./text.ts";

/** How long its vectors are where nothing else is asked for. */
export const dimensionsDefault = 64;
/** The longest that it makes. */
export const dimensionsMax = 4_096;

/**
 * The vector of a text, of length 1: always the same for the same text, another for each other one. A shorter one is the
 * beginning of the longest, scaled.
 */
export function vectorOf(text: string, dimensions = dimensionsDefault): number[] {
  const random = randomFrom(hashOf(text, 0n));
  const values = Array.from({ length: dimensions }, () => random() * 2 - 1);
  const length = Math.hypot(...values) || 1;
  return values.map((value) => Math.fround(value / length));
}

/** How relevant a document is to a query, from 0 to 1: the part of the query's words that it has. */
export function relevanceOf(query: string, document: string): number {
  const words = new Set(query.toLowerCase().match(/\p{L}+/gu));
  const found = new Set(document.toLowerCase().match(/\p{L}+/gu));
  const shared = [...words].filter((word) => found.has(word)).length;
  return shared / Math.max(1, words.size);
}
