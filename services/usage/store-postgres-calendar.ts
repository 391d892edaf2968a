import { type RawBuilder, sql } from "kysely";
import type { WholeStep } from "./steps.ts";

/*
 * Days and months of a time zone. They are told apart by what its clocks show: where these are set back over midnight they
 * show it twice, and PostgreSQL takes midnight for the second one, which the day's first hour lies before.
 */

/** The step that a time lies in, by the midnight that it begins with; a timestamp without a zone. */
export function localStep(time: RawBuilder<Date>, step: WholeStep, timeZone: string): RawBuilder<Date> {
  return sql`date_trunc(${sql.lit(step)}, ${time} at time zone ${timeZone})`;
}

/**
 * When a step begins: at the first instant that shows its midnight, which is the one by the offset of the day before, if
 * that shows it at all. Where clocks leap over midnight it is the leap.
 */
export function firstInstant(step: RawBuilder<unknown>, timeZone: string): RawBuilder<Date> {
  const second = sql`${step} at time zone ${timeZone}`;
  const dayBefore = sql`(${second} - interval '1 day')`;
  const offset = sql`((${dayBefore} at time zone ${timeZone}) - (${dayBefore} at time zone 'UTC'))`;
  const first = sql`((${step} - ${offset}) at time zone 'UTC')`;
  return sql`case when ${first} at time zone ${timeZone} = ${step} then ${first} else ${second} end`;
}
