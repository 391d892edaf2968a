import { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import type { Clock } from "../../runtime/clock.ts";
import { fail, type WeirError } from "../../runtime/errors/fail.ts";
import type { Journal } from "../journal/journal.ts";
import { Identities } from "./identities.ts";
import { type AdmittedRequest, RequestUsage } from "./request-usage.ts";
import { WireWriter } from "./wire-writer.ts";

/** What of the journal the requests use. */
export type RequestJournal = Pick<
  Journal<RequestUsage>,
  "hasRoom" | "running" | "buffer" | "begin" | "snapshot" | "progress" | "final" | "wait"
>;

/** A journal with room again is noticed this soon. */
const retryAfterMs = 1_000;

/** The journal, as requests write their usage into it. */
export class UsageJournal {
  readonly journal: RequestJournal;
  readonly clock: Clock;
  readonly identities = new Identities();
  /** Writes into the journal's buffer. */
  readonly writer: WireWriter;
  /** Requests that were not begun because there was no room. */
  refused = 0;
  /** Called when a request begins. */
  onBegin: () => void = () => undefined;
  #handle = 0;

  constructor(journal: RequestJournal, clock: Clock) {
    this.journal = journal;
    this.clock = clock;
    this.writer = new WireWriter(journal.buffer);
  }

  /** Why no request may begin now; undefined: it may. */
  refusal(): WeirError | undefined {
    return this.journal.hasRoom ? undefined : this.noRoom();
  }

  /** A request is admitted now, to a model. */
  begin(request: AdmittedRequest, model: string): RequestUsage {
    this.#handle = (this.#handle + 1) >>> 0;
    const begun = new RequestUsage(this, this.#handle, request, model);
    this.journal.running.add(begun);
    this.onBegin();
    return begun;
  }

  /** What uses tokens can't be noted, so it must not be begun. */
  noRoom(): WeirError {
    this.refused += 1;
    return fail(ErrorReason.LEDGER_UNAVAILABLE, { retry_after_ms: String(retryAfterMs) }, { retryAfterMs });
  }
}
