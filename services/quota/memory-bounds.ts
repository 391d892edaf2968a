/** How much it keeps, and for how long. Beyond a maximum it answers as it says here, and stays exact. */
export interface MemoryQuotaBounds {
  /** Life of a reservation and of a lease without a word: 15 s, in which a dead node's slots have to be free again. */
  readonly ttlMs: number;
  /** How long what a silent node had leased is kept aside for its report: 5 min, for a journal to be read again. */
  readonly suspendedMs: number;
  /** How long nodes have to answer a recall: 250 ms, which a caller does not notice. */
  readonly recallMs: number;
  /** Requests that run: beyond, Reserve fails with STORE_UNAVAILABLE. 200,000 take some 100 MB. */
  readonly runningMax: number;
  /**
   * How long ended requests and leases are remembered: 15 min. What is said again later of a request is left out; of a
   * lease the part of it counts that its node does not know to be heard.
   */
  readonly endedMs: number;
  /** How many are: 100,000, some 40 MB. */
  readonly endedMax: number;
  /** Leases: beyond, limits are central. Of those that are over half as many are remembered at least, and at most as many. */
  readonly leasesMax: number;
  /** Calls that wait: beyond, they are refused at once. */
  readonly waitersMax: number;
}

/** What they are unless said otherwise. */
export const memoryQuotaBounds: MemoryQuotaBounds = {
  ttlMs: 15_000,
  suspendedMs: 300_000,
  recallMs: 250,
  runningMax: 200_000,
  endedMs: 900_000,
  endedMax: 100_000,
  leasesMax: 100_000,
  waitersMax: 10_000,
};
