import { type DestinationStream, type Logger, type LoggerOptions, pino } from "pino";
import type { LogLevel } from "../config/settings.ts";

/** Members that are never printed, wherever in a line's fields they stand: secrets, and what tenants said. */
const secretMembers = [
  "authorization",
  "api_key",
  "credential",
  "secret",
  "token",
  "password",
  "pepper",
  "prompt",
  "messages",
  "content",
  "completion",
  "extras_json",
  "cookie",
];

/**
 * The log of a process: one JSON object a line. The message is fixed and the variable parts are fields. JSON escapes
 * control characters, so that no field can begin a line of its own.
 *
 * @param destination where lines go; standard output by default.
 */
export function createLog(level: LogLevel, destination?: DestinationStream): Logger {
  const options: LoggerOptions = {
    level,
    base: null,
    messageKey: "message",
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (label) => ({ level: label }) },
    redact: { paths: secretMembers.flatMap((name) => [name, `*.${name}`, `*.*.${name}`]), censor: "[redacted]" },
    serializers: { err: errorFields },
  };
  return destination ? pino(options, destination) : pino(options);
}

/** Longest text of an error that is printed: beyond it there is somebody's data. */
const textMax = 1_000;
const stackMax = 4_000;
const causesMax = 3;

/**
 * What is printed of an error: its kind, code, words and stack, and those of its causes; none of the members that
 * libraries add, which hold statements, parameters and bodies.
 */
function errorFields(thrown: unknown, depth = 0): object {
  if (!(thrown instanceof Error)) return { type: typeof thrown };
  const { code } = thrown as { code?: unknown };
  return {
    type: thrown.constructor.name,
    message: messageOf(thrown),
    ...(typeof code === "string" || typeof code === "number" ? { code } : {}),
    ...(thrown.cause !== undefined && depth < causesMax ? { cause: errorFields(thrown.cause, depth + 1) } : {}),
    stack: framesOf(thrown),
  };
}

// What does not parse is quoted by the parser, and it may be a tenant's.
function messageOf(error: Error): string {
  return error instanceof SyntaxError ? "cannot be parsed" : error.message.slice(0, textMax);
}

// The stack repeats the message first.
function framesOf(error: Error): string | undefined {
  const stack = error.stack;
  const start = stack?.search(/^\s+at /m) ?? -1;
  return start < 0 ? undefined : stack?.slice(start, start + stackMax).trim();
}
