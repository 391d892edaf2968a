/** Which numbers, from 1, have come, in whatever order. */
export interface SliceSet {
  /** All up to this one. */
  through: number;
  /** Those beyond it. */
  beyond: Set<number> | undefined;
}

// A holder has one or two on the way. Where more are missing, those below are taken for come: they draw no more.
const beyondMax = 64;

export function sliceSet(): SliceSet {
  return { through: 0, beyond: undefined };
}

export function hasSlice(slices: SliceSet, slice: number): boolean {
  return slice <= slices.through || slices.beyond?.has(slice) === true;
}

export function addSlice(slices: SliceSet, slice: number): void {
  if (slice === slices.through + 1 && slices.beyond === undefined) {
    slices.through = slice;
    return;
  }
  slices.beyond ??= new Set();
  slices.beyond.add(slice);
  if (slices.beyond.size > beyondMax) slices.through = Math.max(slices.through, Math.min(...slices.beyond));
  for (const come of slices.beyond) if (come <= slices.through) slices.beyond.delete(come);
  while (slices.beyond.delete(slices.through + 1)) slices.through += 1;
  if (slices.beyond.size === 0) slices.beyond = undefined;
}
