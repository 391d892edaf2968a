import type { Lease, LeaseRecall } from "../../gen/ts/weir/quota/v1/lease_pb.ts";
import type { Limit, LimitStatus } from "../../gen/ts/weir/quota/v1/limit_pb.ts";
import type {
  ExtendRequest,
  ExtendResponse,
  LeaseRequest,
  LeaseResponse,
  ReleaseRequest,
  ReserveRequest,
  ReserveResponse,
  ReturnLeaseRequest,
  SettleRequest,
  SettleResponse,
} from "../../gen/ts/weir/quota/v1/quota_service_pb.ts";

/** Told of a lease that is asked back. */
export type RecallListener = (nodeId: string, recall: LeaseRecall) => void;

/**
 * Counts what limits allow. Every method is exact, and may be called again with the same ids. Time is the store's.
 *
 * `limits` are those that apply to the request's consumer, model and operation, each with its revision; a store keeps
 * what a limit has counted from the first call that names it until it is forgotten, and goes by the newest revision
 * that it was shown, or by the one that it was told to believe if that was later. `reported` are the limits of the leases
 * that a call reports on, those that apply if not said: they are looked at only where a lease is not known. Requests are
 * valid by their contract's rules.
 *
 * Every method fails with STORE_UNAVAILABLE when the store cannot answer. Being refused is an answer.
 */
export interface QuotaStore {
  /** Names what is counted here: another one knows nothing of it. */
  readonly id: string;
  /**
   * Sets aside what a request needs on every limit that its node does not cover by a lease, or on none. Leases of other
   * nodes are recalled before it refuses; that, and `wait_max`, is how long it may take.
   */
  reserve(limits: readonly Limit[], request: ReserveRequest, reported?: readonly Limit[]): Promise<ReserveResponse>;
  /** Draws a slice more, and keeps the reservation alive. Fails with NOT_FOUND if there is none that runs. */
  extend(request: ExtendRequest): Promise<ExtendResponse>;
  /** Replaces the reservation by the truth. `limits` are looked at only where the reservation is not known any more. */
  settle(limits: readonly Limit[], request: SettleRequest): Promise<SettleResponse>;
  /** Gives a reservation back as if it had never been. */
  release(request: ReleaseRequest): Promise<void>;
  /** Gives a node parts of limits, and names those that it has to ask for each time. */
  lease(limits: readonly Limit[], request: LeaseRequest, reported?: readonly Limit[]): Promise<LeaseResponse>;
  /** Takes leases back, with what was spent of them. */
  returnLease(reported: readonly Limit[], request: ReturnLeaseRequest): Promise<void>;
  /** The leases that a node holds now, for a watch that it opens: what an older one told it to give back is told anew. */
  leasesOf(nodeId: string): Promise<readonly Lease[]>;
  /**
   * Tells of leases that others need, or that are over and of which nothing was ever told, and of the node that holds
   * them. Returns how to stop listening.
   */
  onRecall(listener: RecallListener): () => void;
  /** How full limits are, in their order. */
  status(limits: readonly Limit[]): Promise<readonly LimitStatus[]>;
  /** A limit is this since now, also where its revision is lower than one that was shown before: they were restored. */
  believe(limit: Limit): void;
  /** A limit is gone, with what it has counted. */
  forget(limitId: string): void;
}
