import type { ModelEntry } from "../fleet/fleet.ts";

/** Why no replica can answer, in words that a caller may read: without addresses and without an engine's own words. */
export function whyClosed(entry: ModelEntry | undefined): string {
  if (!entry) return "it was just removed";
  const { members, seats } = entry;
  if (members.length === 0) return "its pool has no replica";
  const up = members.filter((member) => member.up).length;
  if (up === 0)
    return members.length === 1 ? "its replica does not answer" : `none of its ${members.length} replicas answers`;
  if (!seats.some((seat) => seat.replica.up)) return "no replica that answers has the model";
  if (!seats.some((seat) => seat.ready)) return "the model is not loaded, or its engine is paused or asleep";
  return "the replicas that could serve this request do not answer";
}
