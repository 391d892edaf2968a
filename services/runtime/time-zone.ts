/** Whether the name is one of the IANA's. An offset is none: PostgreSQL takes its sign the other way round. */
export function isTimeZone(name: string): boolean {
  return timeZoneOf(name) !== undefined;
}

/**
 * The zone by a name that means the same to PostgreSQL: that takes CET, EET, MET and WET for abbreviations, which have no
 * summer time. Undefined: the IANA has no such zone.
 */
export function timeZoneOf(name: string): string | undefined {
  if (!/^[A-Za-z]/.test(name)) return undefined;
  try {
    const { timeZone } = Intl.DateTimeFormat("en", { timeZone: name }).resolvedOptions();
    return timeZone === "UTC" || timeZone.includes("/") ? timeZone : undefined;
  } catch {
    // A RangeError: there is no such zone.
    return undefined;
  }
}
