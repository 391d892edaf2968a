// What PostgreSQL's and the client's errors mean to a store. Codes: appendix A of PostgreSQL's documentation.

const uniqueViolation = "23505";

// Conditions in which the same statement, sent again later, may well succeed.
const unavailableClasses = new Set([
  "08", // connection exceptions
  "53", // insufficient resources: disk full, out of memory, too many connections
  "57", // operator intervention: shutdown, crash, cannot connect now, cancelled by a timeout
  "58", // system errors outside PostgreSQL
]);
const unavailableStates = new Set([
  "25006", // read-only: a fail-over made this server a replica
  "25P03", // idle-in-transaction timeout
  "55P03", // a lock was not to be had in time
]);

// Without a SQLSTATE: from the socket (ENOENT is a unix socket whose server is gone).
const socketCodes = new Set([
  "ECONNREFUSED",
  "ECONNRESET",
  "EPIPE",
  "ENOENT",
  "ETIMEDOUT",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "ENOTFOUND",
  "EAI_AGAIN",
  "EADDRNOTAVAIL",
  "EMFILE",
  "ENFILE",
]);

// Neither: the client's own, which carry a text alone.
const clientMessages = new Set([
  "Query read timeout",
  "timeout expired",
  "timeout exceeded when trying to connect",
  "Connection terminated",
  "Connection terminated unexpectedly",
  "Connection terminated due to connection timeout",
  "Client has encountered a connection error and is not queryable",
  "Client was closed and is not queryable",
]);

/** The client stopped waiting for an answer that may still come; its connection is of no more use. */
export function isReadTimeout(error: unknown): boolean {
  return error instanceof Error && error.message === "Query read timeout";
}

/** True when the statement lost to another one, and would be done by now: it deadlocked, or could not be serialised. */
export function isConflict(error: unknown): boolean {
  const code = codeOf(error);
  return code === "40001" || code === "40P01";
}

/** True when a row breaks a check of its table; also when no partition takes it. */
export function isCheckViolation(error: unknown): boolean {
  return codeOf(error) === "23514";
}

/** True when a row with the same unique key exists. */
export function isUniqueViolation(error: unknown): boolean {
  return codeOf(error) === uniqueViolation;
}

/**
 * True when the database could not be asked or could not answer in time, so that nothing was learned about the
 * statement: it may or may not have taken effect when the connection broke during its commit.
 * False for errors of the statement itself, which would fail again.
 */
export function isUnavailable(error: unknown): boolean {
  const code = codeOf(error);
  if (code === undefined) return error instanceof Error && (clientMessages.has(error.message) || causedByOne(error));
  return socketCodes.has(code) || unavailableStates.has(code) || unavailableClasses.has(sqlstateClass(code));
}

function codeOf(error: unknown): string | undefined {
  if (!(error instanceof Error) || !("code" in error)) return undefined;
  return typeof error.code === "string" ? error.code : undefined;
}

function sqlstateClass(code: string): string {
  return /^[0-9A-Z]{5}$/.test(code) ? code.slice(0, 2) : "";
}

function causedByOne(error: Error): boolean {
  // Trying several addresses of a host fails as one error that holds the others.
  if (error instanceof AggregateError) return error.errors.some(isUnavailable);
  return error.cause !== undefined && isUnavailable(error.cause);
}
