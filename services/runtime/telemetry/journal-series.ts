import { Counter, Gauge, type Registry } from "prom-client";

/** How a router's usage journal stands. */
export interface JournalState {
  /** Length of its files. */
  readonly bytes: number;
  /** Ended requests that the ledger has not acknowledged. */
  readonly unshipped: number;
  /** Since the oldest segment with any of those was begun, in milliseconds. */
  readonly oldestAgeMs: number;
  /** Requests may begin. */
  readonly hasRoom: boolean;
  /** Requests that might not, since the start. */
  readonly refused: number;
  /** Records, or whole segments, that can't be read, since the start. */
  readonly damaged: number;
}

/** Adds series whose values are asked for when they are read. */
export function addJournalSeries(registry: Registry, read: () => JournalState): void {
  const registers = [registry];
  const gauge = (name: string, help: string, value: (state: JournalState) => number) =>
    new Gauge({
      name,
      help,
      registers,
      collect() {
        this.set(value(read()));
      },
    });
  const total = (name: string, help: string, value: (state: JournalState) => number) =>
    new Counter({
      name,
      help,
      registers,
      collect() {
        this.reset();
        this.inc(value(read()));
      },
    });
  gauge("weir_usage_journal_bytes", "Length of the usage journal's files.", ({ bytes }) => bytes);
  gauge("weir_usage_unshipped_records", "Ended requests that the ledger has not stored.", (state) => state.unshipped);
  gauge(
    "weir_usage_oldest_unshipped_seconds",
    "Since when there is usage that the ledger has not stored, at most.",
    ({ oldestAgeMs }) => oldestAgeMs / 1000,
  );
  gauge("weir_usage_journal_room", "1 while requests may begin, 0 while the journal has no room for them.", (state) =>
    state.hasRoom ? 1 : 0,
  );
  total("weir_usage_refused_total", "Requests refused because the journal had no room.", ({ refused }) => refused);
  total("weir_usage_damaged_total", "Parts of the journal that could not be read.", ({ damaged }) => damaged);
}
