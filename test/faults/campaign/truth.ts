import type { EndReason } from "../../../gen/ts/weir/usage/v1/usage_record_pb.ts";
import type { Traced } from "../../fakes/record-tail.ts";
import type { Standing } from "./control-calls.ts";

/*
 * What is known of a run from those who were there: the clients, the engines' own records, and PostgreSQL's tables. The
 * gateway's word on itself (its metrics, its log, its API) is not among it. All times are of the machine's one clock, in
 * milliseconds.
 */

/** What one client saw of its request. */
export interface Sight {
  readonly keyId: string;
  readonly model: string;
  /** Of its prompt, as the engines count. Among the key's requests of a while no other has as many. */
  readonly promptTokens: number;
  /** The most that it wanted of an answer. */
  readonly wantedTokens: number;
  readonly sentMs: number;
  /** The answer's head came. */
  readonly headMs?: number;
  /** It was over for the client, whatever the reason. */
  readonly endedMs: number;
  /** As the answer's head tells it. */
  readonly requestId?: string;
  readonly status?: number;
  /** Tokens in the text that came, as its vocabulary tells; a character of several that is not whole is not among it. */
  readonly tokens: number;
  /** The counts that the client was told. */
  readonly told?: { readonly promptTokens: number; readonly completionTokens: number };
  readonly end: SightEnd;
  /**
   * The code of an error, in a body of its own or in a stream; empty: it had none, which is a defect. Of a lost connection
   * what the system said.
   */
  readonly code?: string;
}

/**
 * - `whole`: the answer came to its end.
 * - `failed`: one typed error came, as the answer or at the stream's end.
 * - `left`: the client went away.
 * - `broken`: the connection was lost, or could not be had.
 * - `malformed`: anything else, such as a stream that ends without a word.
 */
export type SightEnd = "whole" | "failed" | "left" | "broken" | "malformed";

/** A request in the ledger. */
export interface Row {
  readonly requestId: string;
  readonly keyId: string;
  readonly projectId: string;
  readonly requestedModel: string;
  readonly admitMs: number;
  /** 1 intent, 2 progress, 3 checkpoint, 4 end. */
  readonly stage: number;
  readonly promptTokens: number;
  readonly completionTokens: number;
  readonly endReason: EndReason;
  /** Tries that were dispatched. */
  readonly attempts: number;
  readonly queueMs: number;
  /** From its admission to its end, as far as that is known. */
  readonly durationMs: number;
}

/** Requests and tokens of one series in one slot of time. */
export interface Sum {
  /** Series and slot. */
  readonly of: string;
  readonly requests: number;
  readonly failedRequests: number;
  readonly promptTokens: number;
  readonly completionTokens: number;
}

/** The ledger's tables. */
export interface Ledger {
  readonly rows: readonly Row[];
  /** Added up from the rows by PostgreSQL itself. */
  readonly rowSums: readonly Sum[];
  readonly rollups: readonly Sum[];
  /** Records in quarantine. */
  readonly setAside: number;
}

/** A limit, as it was made. */
export interface Limited {
  readonly limitId: string;
  readonly of: "requests" | "tokens" | "concurrency";
  readonly onFailure: "closed" | "local" | "open";
  /** The key whose requests it counts; undefined: all of the project's. */
  readonly keyId?: string;
  readonly projectId: string;
  readonly count: number;
  /** How long it takes to refill from empty, in milliseconds; Infinity: it does not. */
  readonly refillMs: number;
  /** It was made before that, and before its key's first request. */
  readonly sinceMs: number;
}

/** What was done to the process that counts. */
export interface Counting {
  /** It died: what it had counted is gone, and counting begins anew. */
  readonly diedMs: readonly number[];
  /** It could not be asked, until somebody has noticed that it can again. */
  readonly away: readonly { readonly fromMs: number; readonly toMs: number }[];
}

/** All of it, of one stretch of time. */
export interface Truth {
  readonly sights: readonly Sight[];
  readonly traces: readonly Traced[];
  readonly ledger: Ledger;
  /** When processes of the gateway died on purpose: connections may break then, and at no other time. */
  readonly deathsMs: readonly number[];
  readonly limits: readonly Limited[];
  readonly counting: Counting;
  /** What limits say of themselves when nothing runs and every lease's time is over, by their ids; empty: not asked. */
  readonly standings: ReadonlyMap<string, Standing>;
  /** When they were asked. */
  readonly standingMs: number;
}

/**
 * A request's id as the router gives it to an engine: its own, and the number of the try. A TGIS engine adds the number of
 * the prompt where it is asked for several at once, of which there is one.
 */
const attemptId = /^([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})-(\d+)(?:-0)?$/;

/** The request that an engine's trace belongs to, and which try it is. Undefined: it is none of a caller's. */
export function tryOf({ id }: Pick<Traced, "id">): { readonly requestId: string; readonly number: number } | undefined {
  const [, requestId, number] = attemptId.exec(id) ?? [];
  return requestId === undefined ? undefined : { requestId, number: Number(number) };
}

/** Tokens of the simulator's vocabulary in a text: words with their space, marks, and each byte of other characters. */
export function tokensIn(text: string): number {
  const ascii = text.match(/ [a-z]+|[,.\n]/g)?.length ?? 0;
  const other = text.match(/[\u0080-\ufffc\u{10000}-\u{10ffff}]/gu)?.join("") ?? "";
  return ascii + Buffer.byteLength(other);
}
