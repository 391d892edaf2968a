import { TimeStep } from "../../gen/ts/weir/usage/v1/usage_query_pb.ts";

/** A step of the calendar, whose length depends on where and when. */
export type WholeStep = "day" | "month";
/** How long a row's time is; "all": all of it. */
export type Step = "all" | "minute" | "hour" | WholeStep;

/** More would be a wall of rows, and hardly what was meant. */
const stepsMax = 10_000;

/** Milliseconds; those of a day and a month are averages. "all" is cut at the slots that sums are kept by. */
const lengthMs: Readonly<Record<Step, number>> = {
  all: 15 * 60_000,
  minute: 60_000,
  hour: 3_600_000,
  day: 86_400_000,
  month: 2_629_746_000,
};

/** The step by its name in the contract. */
export function stepFrom(step: TimeStep): Step {
  switch (step) {
    case TimeStep.MINUTE:
      return "minute";
    case TimeStep.HOUR:
      return "hour";
    case TimeStep.DAY:
      return "day";
    case TimeStep.MONTH:
      return "month";
    default:
      return "all";
  }
}

/** Whether a step is one of a time zone's calendar. */
export function isWhole(step: Step): step is WholeStep {
  return step === "day" || step === "month";
}

/** Times rounded outwards to steps that are the same everywhere. */
export function rounded(startMs: number, endMs: number, step: Exclude<Step, WholeStep>): readonly [number, number] {
  const length = lengthMs[step];
  return [Math.floor(startMs / length) * length, Math.ceil(endMs / length) * length];
}

/** Whether there are more steps than may be asked for at once. */
export function tooMany(startMs: number, endMs: number, step: Step): boolean {
  return step !== "all" && (endMs - startMs) / lengthMs[step] > stepsMax;
}
