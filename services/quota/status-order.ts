import type { LimitStatus } from "../../gen/ts/weir/quota/v1/limit_pb.ts";

/** Orders by how much of the ceiling remains, the least first; a limit that allows none is the fullest. */
export function fullestFirst(a: LimitStatus, b: LimitStatus): number {
  const [ceilingA, ceilingB] = [ceilingOf(a), ceilingOf(b)];
  if (ceilingA === 0n || ceilingB === 0n) return Number(ceilingA !== 0n) - Number(ceilingB !== 0n);
  const difference = a.remaining * ceilingB - b.remaining * ceilingA;
  return difference === 0n ? 0 : difference < 0n ? -1 : 1;
}

function ceilingOf({ limit }: LimitStatus): bigint {
  return limit?.spec?.ceiling.value ?? 0n;
}
