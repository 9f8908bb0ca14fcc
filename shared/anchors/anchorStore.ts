import type { Db } from "../pg/pool.ts";
import type { OpenTransaction } from "../pg/transaction.ts";
import type { AnchorRow } from "./sql/readAnchor.ts";
import type { SavedResponseRow } from "./sql/readSavedResponses.ts";

/** Identifies a request, so that a retry gets the response of its first attempt. */
export interface RequestIdentity {
  /** SHA-256 of the idempotency key; without a key, the request's digest. */
  readonly idempotencyDigest: Buffer;
  /** SHA-256 of the method, the caller and the request. */
  readonly requestDigest: Buffer;
}

/** A version of a session, for a compare-and-set. */
export interface Version {
  /** UUID in text form. */
  readonly sessionId: string;
  readonly version: number;
  /** Its chain digest. */
  readonly digest: Buffer;
}

/** A session's first version. */
export interface FirstVersion {
  readonly sessionId: string;
  /** Its chain digest. */
  readonly digest: Buffer;
  /** Sealed. */
  readonly savedResponse: Buffer;
  /** The session's expiry, in milliseconds since the Unix epoch. */
  readonly expiresAt: number;
}

/** The version that a compare-and-set advances a session to. */
export interface NextVersion {
  /** Its chain digest. */
  readonly digest: Buffer;
  readonly identity: RequestIdentity;
  /** Sealed. */
  readonly savedResponse: Buffer;
  /** True if it ends the session. */
  readonly ended: boolean;
  /** True if the response stays saved after later versions, for the session's life. Default: false. */
  readonly isSaved?: boolean;
}

/**
 * Stores the current version of each anchored session of a service. A method runs in the transaction `tx`
 * where that is given, and otherwise in a group commit with other calls.
 */
export interface AnchorStore {
  /**
   * Begins a transaction for a call on a session. A replica has one at a time for each session; calls that
   * wait for theirs hold no connection. Undefined where the store has no transactions.
   *
   * @throws StatusError CONFLICT: another call held the session for too long
   */
  beginTransaction?(sessionId: string): Promise<OpenTransaction>;
  /** Anchors a session at its first version. */
  create(first: FirstVersion, tx?: Db): Promise<void>;
  /**
   * Advances a session to its next version by compare-and-set.
   *
   * @returns whether the session was at the version `from`
   */
  advance(from: Version, next: NextVersion, tx?: Db): Promise<boolean>;
  /** Returns a session's current version; undefined when it has no anchor. */
  read(sessionId: string): Promise<AnchorRow | undefined>;
  /** Reads it, and locks it until the transaction ends. */
  lock(sessionId: string, tx: Db): Promise<AnchorRow | undefined>;
  /** Returns whether a call that advanced from a version was served, even if its saved response was deleted. */
  wasServed(from: Version, identity: RequestIdentity): Promise<boolean>;
  /** Returns the saved responses of a session's versions after one, in their order. */
  savedAfter(sessionId: string, version: number, limit: number): Promise<SavedResponseRow[]>;
}
