// A UUIDv7 begins with its time: 48 bits of milliseconds since the epoch. Ids sort by it, as text and in PostgreSQL.

const uuidv7 = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;

/** Whether text is a UUIDv7 in lower case. */
export function isRequestId(text: string): boolean {
  return uuidv7.test(text);
}

/** When an id was made, in milliseconds since the epoch. */
export function msOfRequestId(id: string): number {
  return Number.parseInt(id.slice(0, 8), 16) * 65_536 + Number.parseInt(id.slice(9, 13), 16);
}

/** The least UUID of a time: every id that was made from then on is at least this, every earlier one is less. */
export function leastIdAt(ms: number): string {
  const hex = Math.min(Math.max(0, Math.ceil(ms)), 2 ** 48 - 1)
    .toString(16)
    .padStart(12, "0");
  return `${hex.slice(0, 8)}-${hex.slice(8)}-0000-0000-000000000000`;
}
