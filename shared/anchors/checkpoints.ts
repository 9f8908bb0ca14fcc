import { type EnvelopeV1, Part } from "../../proto/gen/waybill/envelope/v1/envelope.ts";
import { Errors } from "../errors.ts";
import { GroupCommit } from "../pg/groupCommit.ts";
import type { Pool } from "../pg/pool.ts";
import { uuidFromBytes, uuidToBytes } from "../runtime/uuid.ts";
import { isAnonymous } from "../waybill/owner.ts";
import type { SavedResponses } from "./savedResponses.ts";
import type { Directory } from "./sessionDirectory.ts";
import { readCheckpoint } from "./sql/readCheckpoint.ts";
import { type CheckpointRow, upsertCheckpoints } from "./sql/upsertCheckpoints.ts";

const NOTHING = Buffer.alloc(0);

/** Longest wait for a periodic checkpoint, in ms. */
const TIMEOUT_MS = 1000;
/** Back-off of periodic checkpoints after a failure, in ms. */
const BACKOFF_MS = 5000;

/** Stores and reads checkpoints for a session's calls. */
export type CheckpointStore = Pick<Checkpoints, "saveIfDue" | "read">;

/** The store of a service without checkpoints. */
export const NO_CHECKPOINTS: CheckpointStore = {
  async saveIfDue(_envelope, isRequested) {
    if (isRequested)
      throw new Error(
        "session.checkpoint() needs the option checkpoints, which this service does not have",
      );
  },
  read: async () => undefined,
};

/** Options of checkpoints. */
export interface CheckpointsOptions {
  /** Lists the sessions of each owner. Default: sessions are not listed. */
  directory?: Directory | undefined;
  /** Receives the error of a periodic checkpoint that failed. Default: the error is dropped. */
  failed?: (error: unknown) => void;
}

/**
 * Checkpoints of carried sessions: a sealed copy of a version's waybill, which lets the session's owner resume
 * it. Postgres stores the newest checkpoint of each session.
 */
export class Checkpoints {
  readonly #pool: Pool;
  readonly #schema: string;
  readonly #savedResponses: SavedResponses;
  readonly #directory: Directory | undefined;
  readonly #failed: (error: unknown) => void;
  #pausedUntil = Number.NEGATIVE_INFINITY;
  readonly #groups: GroupCommit<CheckpointRow, undefined>;

  /** @param savedResponses of the sessions' audience: checkpoints are sealed under the same ring */
  constructor(
    pool: Pool,
    schema: string,
    savedResponses: SavedResponses,
    { directory, failed = () => {} }: CheckpointsOptions = {},
  ) {
    this.#pool = pool;
    this.#schema = schema;
    this.#savedResponses = savedResponses;
    this.#directory = directory;
    this.#failed = failed;
    this.#groups = new GroupCommit(async (rows) => {
      // One statement stores a session once: the newest version in the group.
      const newest = new Map<string, CheckpointRow>();
      for (const row of rows) {
        if ((newest.get(row.sessionId)?.version ?? 0) <= row.version)
          newest.set(row.sessionId, row);
      }
      const sorted = [...newest.values()].sort((a, b) => (a.sessionId < b.sessionId ? -1 : 1));
      await upsertCheckpoints(pool, schema, sorted);
      return rows.map(() => undefined);
    });
  }

  /**
   * Stores a version when the handler requests a checkpoint, or when a periodic one is due
   * (`checkpoint_every`). A periodic checkpoint that fails does not fail the call.
   *
   * @throws StatusError SESSION_NOT_OWNED, KEYS_UNAVAILABLE, or the database's error, if it was requested
   */
  async saveIfDue(envelope: EnvelopeV1, isRequested: boolean): Promise<void> {
    const { subject, version, checkpointEvery } = envelope;
    if (isRequested) {
      if (isAnonymous(subject)) throw Errors.SESSION_NOT_OWNED();
      await this.#store(envelope);
    } else if (checkpointEvery > 0 && version % checkpointEvery === 0 && !isAnonymous(subject)) {
      await this.#storePeriodic(envelope);
    }
  }

  /**
   * Returns a session's checkpoint; undefined when it has none.
   *
   * @throws StatusError SESSION_NOT_FOUND: the row was changed, or belongs to another session
   */
  async read(sessionId: string): Promise<EnvelopeV1 | undefined> {
    const row = await readCheckpoint(this.#pool, this.#schema, sessionId);
    if (row === undefined) return undefined;
    const successor = (await this.#savedResponses.open(row.content))?.successor;
    // The saved response of an anchor has a digest. Copied here, it would resume an old version.
    if (
      successor?.version === row.version &&
      successor.digest.length === 0 &&
      successor.sessionId.equals(uuidToBytes(sessionId))
    ) {
      return successor;
    }
    throw Errors.SESSION_NOT_FOUND({
      alarm: true,
      cause: "the checkpoint is of another version or session",
    });
  }

  /** Without Postgres the sessions continue, and their calls do not wait long for it. */
  async #storePeriodic(envelope: EnvelopeV1): Promise<void> {
    if (performance.now() < this.#pausedUntil) return;
    const late = Promise.withResolvers<never>();
    const timer = setTimeout(
      () => late.reject(new Error(`no checkpoint within ${TIMEOUT_MS} ms`)),
      TIMEOUT_MS,
    );
    try {
      await Promise.race([this.#store(envelope), late.promise]);
    } catch (error) {
      this.#pausedUntil = performance.now() + BACKOFF_MS;
      this.#failed(error);
    } finally {
      clearTimeout(timer);
    }
  }

  async #store(envelope: EnvelopeV1): Promise<void> {
    const { sessionId, version, subject, expiresAt } = envelope;
    const content = this.#savedResponses.seal({
      sessionId: NOTHING,
      version: 0,
      digest: NOTHING,
      parentDigest: NOTHING,
      idempotencyDigest: NOTHING,
      requestDigest: NOTHING,
      response: NOTHING,
      successor: envelope,
      part: Part.PART_UNSPECIFIED,
    });
    const id = uuidFromBytes(sessionId);
    // Listed first: the owner must find every session that can be resumed.
    await this.#directory?.register({ id, subject, expiresAt: Number(expiresAt) * 1000 });
    await this.#groups.add({ sessionId: id, version, content });
  }
}
