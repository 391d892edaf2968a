/** The members of a JSON object. */
export type Members = Readonly<Record<string, unknown>>;

/** Why a request is refused, in the manner of vLLM. */
export interface Refusal {
  readonly status: number;
  readonly type: string;
  readonly message: string;
}

/** A request that the server will not run as it is. */
export function bad(message: string): Refusal {
  return { status: 400, type: "BadRequestError", message };
}

export function isMembers(value: unknown): value is Members {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

export function numberOf(value: unknown): number | undefined {
  return typeof value === "number" ? value : undefined;
}

interface NumberRule {
  readonly name: string;
  readonly integer: boolean;
  readonly min: number;
  readonly max: number;
  readonly problem: string;
}

const rules: readonly NumberRule[] = [
  { name: "max_tokens", integer: true, min: 1, max: 2 ** 31, problem: "max_tokens must be at least 1" },
  { name: "max_completion_tokens", integer: true, min: 1, max: 2 ** 31, problem: "max_tokens must be at least 1" },
  { name: "min_tokens", integer: true, min: 0, max: 2 ** 31, problem: "min_tokens must be greater than or equal to 0" },
  { name: "n", integer: true, min: 1, max: 128, problem: "n must be an int from 1 to 128" },
  { name: "temperature", integer: false, min: 0, max: 1e9, problem: "temperature must be non-negative" },
  { name: "top_p", integer: false, min: Number.MIN_VALUE, max: 1, problem: "top_p must be in (0, 1]" },
  { name: "frequency_penalty", integer: false, min: -2, max: 2, problem: "frequency_penalty must be in [-2, 2]" },
  { name: "presence_penalty", integer: false, min: -2, max: 2, problem: "presence_penalty must be in [-2, 2]" },
  { name: "seed", integer: true, min: -(2 ** 63), max: 2 ** 63, problem: "seed must be an int of 64 bits" },
  { name: "top_logprobs", integer: true, min: 0, max: 20, problem: "top_logprobs must be from 0 to 20" },
];

/** The first number that a real engine would refuse; absent and null members are fine. */
export function badNumber(body: Members): Refusal | undefined {
  for (const { name, integer, min, max, problem } of rules) {
    const value = body[name];
    if (value === undefined || value === null) continue;
    // Nothing is to be said where only the prompt is echoed.
    const least = name === "max_tokens" && body["echo"] === true ? 0 : min;
    const fits = typeof value === "number" && value >= least && value <= max && (!integer || Number.isInteger(value));
    if (!fits) return bad(`${problem}, got ${JSON.stringify(value)}.`);
  }
  return undefined;
}
