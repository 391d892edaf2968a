import type { Code } from "@connectrpc/connect";
import { ErrorReason, ErrorSource, Retry } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import { shapes } from "./shapes.ts";
import {
  of,
  soon,
  logged,
  tokenizer,
  idsOnly,
  setTokenizer,
  engine,
  strayed,
  overlong,
  setAside,
  deadly,
  uncontrolled,
} from "./wording.ts";

/** Metadata of an error: the keys that its reason documents in `error.proto`. */
export type Metadata = Readonly<Record<string, string>>;

/** How one {@link ErrorReason} looks on every door. */
export interface ErrorRow {
  /** Status of a Connect or gRPC call. */
  readonly code: Code;
  /** Status of an HTTP answer. */
  readonly http: number;
  /** `error.type` of an OpenAI-style body. */
  readonly openaiType: string;
  /** `error.code` of an OpenAI-style body; "metadata" takes it from the metadata key `code`. */
  readonly openaiCode: string | null;
  /** `error.type` of an Anthropic-style body. */
  readonly anthropicType: string;
  readonly source: ErrorSource;
  readonly retry: Retry;
  /** What happened and what to do next. */
  readonly message: (metadata: Metadata) => string;
}

type Name = Exclude<keyof typeof ErrorReason, "UNSPECIFIED">;

const { CALLER, GATEWAY, ENGINE } = ErrorSource;
const { NO, SAME, OTHER_REPLICA, AFTER } = Retry;

function row(
  shape: keyof typeof shapes,
  openaiCode: string | null,
  source: ErrorSource,
  retry: Retry,
  message: (metadata: Metadata) => string,
): ErrorRow {
  return { ...shapes[shape], openaiCode, source, retry, message };
}

/** Every reason's row. A reason without one does not compile. */
const rows: Record<Name, ErrorRow> = {
  INVALID_ARGUMENT: row("invalid", "metadata", CALLER, NO, (m) =>
    m["param"]
      ? `Invalid \`${m["param"]}\`: ${of(m, "problem", "not acceptable")}.`
      : `Invalid request: ${of(m, "problem", "not acceptable")}.`,
  ),
  CONTEXT_LENGTH_EXCEEDED: row(
    "invalid",
    "context_length_exceeded",
    CALLER,
    NO,
    (m) =>
      `This model's maximum context length is ${of(m, "limit", "?")} tokens, and the request needs more (prompt: ${of(m, "prompt_tokens", "?")}, answer: ${m["max_tokens"] || "the rest"}). Shorten the prompt or ask for fewer tokens.`,
  ),
  REQUEST_TOO_LARGE: row(
    "tooLarge",
    "request_too_large",
    CALLER,
    NO,
    (m) => `The request is longer than ${of(m, "limit", "?")} bytes. Send a shorter one.`,
  ),
  UNSUPPORTED: row(
    "invalid",
    "unsupported_parameter",
    CALLER,
    NO,
    (m) =>
      `\`${of(m, "param", "?")}\` is not supported by model \`${of(m, "model", "?")}\`${m["feature"] ? ` (${m["feature"]})` : ""}. Leave it out, or choose another model.`,
  ),
  ALREADY_EXISTS: row("conflict", "already_exists", CALLER, NO, (m) =>
    m["request_id"]
      ? `request_id \`${m["request_id"]}\` was used for a different request. Choose a new one.`
      : `${of(m, "resource", "A resource")} \`${of(m, "id", "?")}\` exists already. Choose another id.`,
  ),
  NOT_FOUND: row(
    "notFound",
    "not_found",
    CALLER,
    NO,
    (m) => `No ${of(m, "resource", "resource")} \`${of(m, "id", "?")}\`, or you do not have access to it.`,
  ),
  MODEL_NOT_FOUND: row(
    "notFound",
    "model_not_found",
    CALLER,
    NO,
    (m) =>
      `The model \`${of(m, "model", "?")}\` does not exist or you do not have access to it. GET /v1/models lists those that you may call.`,
  ),
  MANAGED_BY_FILE: row(
    "precondition",
    "managed_by_file",
    CALLER,
    NO,
    (m) =>
      `${of(m, "resource", "The resource")} \`${of(m, "id", "?")}\` is defined by the configuration file. Change it there.`,
  ),
  UNKNOWN_METHOD: row("unimplemented", "unknown_url", CALLER, NO, (m) => `No such method: ${of(m, "method", "?")}.`),

  CREDENTIAL_MISSING: row(
    "unauthenticated",
    "missing_api_key",
    CALLER,
    NO,
    () => "You didn't provide an API key. Send it as `Authorization: Bearer YOUR_KEY`.",
  ),
  CREDENTIAL_INVALID: row(
    "unauthenticated",
    "invalid_api_key",
    CALLER,
    NO,
    () => "Incorrect API key provided. Check that it was copied whole, or ask for a new one.",
  ),
  CREDENTIAL_AMBIGUOUS: row(
    "invalid",
    "ambiguous_auth",
    CALLER,
    NO,
    (m) => `More than one credential, or one where none may be (${of(m, "where", "?")}). Send one key, in one header.`,
  ),
  KEY_REVOKED: row(
    "unauthenticated",
    "key_revoked",
    CALLER,
    NO,
    () => "This API key has been revoked. Ask for a new one.",
  ),
  KEY_EXPIRED: row(
    "unauthenticated",
    "key_expired",
    CALLER,
    NO,
    (m) => `This API key expired${m["expire_time"] ? ` at ${m["expire_time"]}` : ""}. Ask for a new one.`,
  ),
  KEY_NOT_YET_VALID: row(
    "unauthenticated",
    "key_not_yet_valid",
    CALLER,
    NO,
    (m) => `This API key is not valid before ${of(m, "start_time", "its start time")}.`,
  ),
  PERMISSION_DENIED: row(
    "denied",
    "insufficient_scope",
    CALLER,
    NO,
    (m) => `This API key lacks the permission \`${of(m, "permission", "?")}\`. Use a key that has it.`,
  ),
  GRANT_EXCEEDS_GRANTOR: row(
    "denied",
    "insufficient_scope",
    CALLER,
    NO,
    (m) => `A key cannot grant what it does not hold: ${of(m, "permission", "?")}.`,
  ),
  TOO_MANY_BAD_CREDENTIALS: row(
    "tooMany",
    "rate_limit_exceeded",
    CALLER,
    AFTER,
    () => "Too many unknown API keys from your address. Wait, and check the key.",
  ),
  PEER_NOT_TRUSTED: row(
    "unauthenticated",
    "peer_not_trusted",
    CALLER,
    NO,
    () => "The mesh token is missing or wrong. Give all processes of the installation the same token file.",
  ),
  AUTH_UNAVAILABLE: row(
    "unavailable",
    "auth_unavailable",
    GATEWAY,
    AFTER,
    () => `Your API key cannot be checked at the moment; it may well be good. ${soon}`,
  ),

  METHOD_UNDECLARED: row(
    "denied",
    "method_undeclared",
    GATEWAY,
    NO,
    (m) =>
      `${of(m, "method", "The method")} declares no policy, so nobody may call it. Add the option (weir.policy.v1.method) to its contract.`,
  ),
  WRONG_LISTENER: row("unimplemented", "unknown_url", CALLER, NO, (m) => `No such method: ${of(m, "method", "?")}.`),

  QUEUE_FULL: row(
    "unavailable",
    "server_overloaded",
    GATEWAY,
    AFTER,
    (m) => `Every place in the queue of model \`${of(m, "model", "?")}\` is taken. ${soon}`,
  ),
  QUEUE_TIMEOUT: row(
    "unavailable",
    "server_overloaded",
    GATEWAY,
    AFTER,
    (m) => `No replica of model \`${of(m, "model", "?")}\` came free within ${of(m, "waited_ms", "?")} ms. ${soon}`,
  ),
  NO_REPLICA: row(
    "unavailable",
    "no_replica",
    GATEWAY,
    AFTER,
    (m) =>
      `Model \`${of(m, "model", "?")}\` has no replica that can answer now (${of(m, "why", "none is up")}). ${soon}`,
  ),
  DRAINING: row(
    "unavailable",
    "server_draining",
    GATEWAY,
    AFTER,
    () => "This server is stopping. Send the request again; another one will answer.",
  ),
  OVERLOADED: row(
    "unavailable",
    "server_overloaded",
    GATEWAY,
    AFTER,
    () => `The server has more to do than it takes at once. ${soon}`,
  ),

  ENGINE_UNAVAILABLE: row(
    "badGateway",
    "upstream_unavailable",
    ENGINE,
    OTHER_REPLICA,
    (m) => `${engine(m)} could not be reached or went away. ${soon}`,
  ),
  ENGINE_REFUSED: row(
    "invalid",
    "upstream_refused",
    ENGINE,
    NO,
    (m) => `${engine(m)} refused the request: ${of(m, "problem", "no reason given")}. Change the request.`,
  ),
  ENGINE_OVERLOADED: row(
    "unavailable",
    "server_overloaded",
    ENGINE,
    OTHER_REPLICA,
    (m) => `${engine(m)} is full. ${soon}`,
  ),
  ENGINE_TIMEOUT: row(
    "timeout",
    "upstream_timeout",
    ENGINE,
    OTHER_REPLICA,
    (m) => `${engine(m)} said nothing for ${of(m, "waited_ms", "?")} ms (${of(m, "phase", "?")}). ${soon}`,
  ),
  ENGINE_FAILED: row(
    "badGateway",
    "upstream_error",
    ENGINE,
    OTHER_REPLICA,
    (m) => `${engine(m)} failed${m["problem"] ? `: ${m["problem"]}` : ""}. ${soon}`,
  ),
  ENGINE_PROTOCOL: row(
    "badGateway",
    "upstream_protocol_error",
    ENGINE,
    OTHER_REPLICA,
    (m) => `${engine(m)} answered with nonsense (${of(m, "problem", "?")}). Tell the operator.`,
  ),
  ENGINE_TRUNCATED: row(
    "badGateway",
    "upstream_truncated",
    ENGINE,
    SAME,
    (m) => `${engine(m)} ended the answer before it was finished. What came is incomplete; send the request again.`,
  ),
  ENGINE_CREDENTIAL: row(
    "badGateway",
    "upstream_credential",
    ENGINE,
    NO,
    (m) => `${engine(m)} refused the gateway's own credential. Tell the operator to check the pool's engine key.`,
  ),
  ANSWER_MISMATCH: row("badGateway", "answer_mismatch", ENGINE, SAME, strayed),
  ANSWER_TOO_LARGE: row("invalid", "answer_too_large", CALLER, NO, overlong),
  REQUEST_QUARANTINED: row("unprocessable", "request_quarantined", CALLER, NO, deadly),
  CHAT_TEMPLATE_MISSING: row(
    "invalid",
    "chat_template_missing",
    GATEWAY,
    NO,
    (m) =>
      `Model \`${of(m, "model", "?")}\` takes a plain prompt and has no chat template. Use /v1/completions, or tell the operator to set \`chat_template\` for the model (or start with --chat-template).`,
  ),
  TOKENIZER_FAILED: row("internal", "tokenizer_failed", GATEWAY, NO, (m) => `${tokenizer(m)} can't be used. ${logged}`),
  TOKENIZER_MISSING: row("invalid", "tokenizer_missing", GATEWAY, NO, (m) => `${idsOnly(m)} ${setTokenizer}`),
  CHAT_TEMPLATE_FAILED: row(
    "invalid",
    "chat_template_failed",
    CALLER,
    NO,
    (m) =>
      `The chat template of model \`${of(m, "model", "?")}\` does not take these messages: ${of(m, "problem", "?")}.`,
  ),
  ENGINE_CONTROL_OFF: row("precondition", "engine_control_off", ENGINE, NO, uncontrolled),

  CANCELLED: row("cancelled", "cancelled", CALLER, NO, () => "The caller went away or took the request back."),
  DEADLINE_EXCEEDED: row(
    "timeout",
    "timeout",
    CALLER,
    SAME,
    (m) =>
      `The deadline${m["deadline_ms"] ? ` of ${m["deadline_ms"]} ms` : ""} passed. Allow more time, or ask for less.`,
  ),
  SLOW_READER: row(
    "cancelled",
    "slow_reader",
    CALLER,
    NO,
    () => "The stream was not read fast enough and was cut. Read it as it comes.",
  ),

  STORE_UNAVAILABLE: row(
    "unavailable",
    "store_unavailable",
    GATEWAY,
    AFTER,
    (m) => `The ${of(m, "store", "store")} is away. ${soon}`,
  ),
  SERVICE_UNAVAILABLE: row(
    "unavailable",
    "service_unavailable",
    GATEWAY,
    AFTER,
    (m) => `The ${of(m, "service", "service")} service is away. ${soon}`,
  ),
  LEDGER_UNAVAILABLE: row(
    "unavailable",
    "ledger_unavailable",
    GATEWAY,
    AFTER,
    () => `What the request uses cannot be recorded now, so it was not begun. ${soon}`,
  ),
  INTERNAL: row(
    "internal",
    "internal_error",
    GATEWAY,
    SAME,
    (m) =>
      `Something is wrong on our side. Try again; if it stays, report it${m["request_id"] ? ` with request id ${m["request_id"]}` : ""}.`,
  ),

  RATE_LIMITED: row(
    "tooMany",
    "rate_limit_exceeded",
    CALLER,
    AFTER,
    (m) =>
      `Limit reached on ${of(m, "dimension", "requests")} for ${of(m, "subject", "your key")}: ${of(m, "limit", "?")}${m["remaining"] === undefined ? "" : `, of which ${m["remaining"]} are left`}. Try again ${m["retry_after_ms"] === undefined ? "later" : `in ${Math.ceil(Number(m["retry_after_ms"])) / 1_000} s`}.`,
  ),
  BUDGET_EXHAUSTED: row(
    "tooMany",
    "insufficient_quota",
    CALLER,
    NO,
    (m) =>
      `The budget${m["limit"] === undefined ? "" : ` of ${m["limit"]} ${of(m, "dimension", "tokens")}`} of ${of(m, "subject", "your project")} is used up${m["reset_time"] ? ` until ${m["reset_time"]}` : ""}. Ask for a larger one.`,
  ),
  EXCEEDS_LIMIT: row(
    "tooMany",
    "rate_limit_exceeded",
    CALLER,
    NO,
    (m) =>
      `The request needs ${of(m, "needed", "?")} ${of(m, "dimension", "tokens")}, and the whole limit is ${of(m, "limit", "?")}. Ask for less.`,
  ),
  QUARANTINED: row("invalid", "quarantined", CALLER, NO, setAside),
};

const byReason = new Map<ErrorReason, ErrorRow>(
  (Object.keys(rows) as Name[]).map((name) => [ErrorReason[name], rows[name]]),
);

/** The row of a reason; a reason that a newer peer sent is an internal error here. */
export function errorRow(reason: ErrorReason): ErrorRow {
  return byReason.get(reason) ?? rows.INTERNAL;
}
