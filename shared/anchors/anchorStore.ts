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

/** A version of a session, for the table. */
export interface Version {
  /** 16 bytes, in the text form of a UUID. */
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
  /** Its checkpoint, sealed. */
  readonly savedResponse: Buffer;
  /** When the session ends at the latest: milliseconds since the Unix epoch. */
  readonly expiresAt: number;
}

/** The version after another one. */
export interface NextVersion {
  /** Its chain digest. */
  readonly digest: Buffer;
  readonly identity: RequestIdentity;
  /** What the call is answered, sealed. */
  readonly savedResponse: Buffer;
  /** Whether it is the last. */
  readonly ended: boolean;
  /** Whether the answer is kept beside those of later versions, too, for the session's life. Default: no. */
  readonly isSaved?: boolean;
}

/**
 * Where the sessions of a service are anchored: which version of each is the newest. Where a parameter
 * `tx` is given, it is done in that transaction, and otherwise in one of its own, with others'.
 */
export interface AnchorStore {
  /**
   * Opens a transaction for a session's step. Of one session a program has one at a time: those that wait
   * for theirs hold no connection. Undefined: there is none to be had.
   *
   * @throws StatusError CONFLICT: the session was not to be had in time
   */
  beginTransaction?(sessionId: string): Promise<OpenTransaction>;
  /** Anchors a session at its first version. */
  create(first: FirstVersion, tx?: Db): Promise<void>;
  /**
   * The compare-and-set: takes a session from a version to the next.
   *
   * @returns whether the session was at that version
   */
  advance(from: Version, next: NextVersion, tx?: Db): Promise<boolean>;
  /** Where a session stands; undefined when it has no anchor. */
  read(sessionId: string): Promise<AnchorRow | undefined>;
  /** The same, and nobody else moves it before the transaction has ended. */
  lock(sessionId: string, tx: Db): Promise<AnchorRow | undefined>;
  /** Whether a call that went on from a version was served, though its answer may be gone. */
  wasServed(from: Version, identity: RequestIdentity): Promise<boolean>;
  /** The answers that are kept of a session's versions after one, in their order. */
  savedAfter(sessionId: string, version: number, limit: number): Promise<SavedResponseRow[]>;
}
