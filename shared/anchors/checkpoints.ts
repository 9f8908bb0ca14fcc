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

/** Longest wait for a checkpoint that nobody has asked for, in ms. */
const PATIENCE_MS = 1000;
/** How long after one that failed no other is tried, in ms. */
const REST_MS = 5000;

/** What the steps of a call do with checkpoints. */
export type CheckpointStore = Pick<Checkpoints, "saveIfDue" | "read">;

/** For services that keep none. */
export const NO_CHECKPOINTS: CheckpointStore = {
  async saveIfDue(_envelope, isAskedFor) {
    if (isAskedFor) throw new Error("a checkpoint is asked for, but the service keeps none");
  },
  read: async () => undefined,
};

/** What checkpoints may be given besides where they are kept. */
export interface CheckpointsOptions {
  /** Where an owner's sessions are listed. Default: nowhere. */
  directory?: Directory | undefined;
  /** Hears why a checkpoint that nobody has asked for was not made. Default: nobody does. */
  failed?: (error: unknown) => void;
}

/**
 * Versions of carried sessions, each kept for the session's owner until he resumes it: a sealed copy of
 * what its waybill says. Of each session the newest that was kept.
 */
export class Checkpoints {
  readonly #pool: Pool;
  readonly #schema: string;
  readonly #savedResponses: SavedResponses;
  readonly #directory: Directory | undefined;
  readonly #failed: (error: unknown) => void;
  #restsUntil = Number.NEGATIVE_INFINITY;
  readonly #groups: GroupCommit<CheckpointRow, undefined>;

  /** @param savedResponses of the sessions' audience: checkpoints are sealed as what anchors keep is */
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
      // One statement keeps a session once: the newest of what has come together.
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
   * Keeps a version where its session has it kept, or its handler asks for it. One that nobody has asked
   * for is not worth a failed call: the next one is made instead.
   *
   * @throws StatusError SESSION_NOT_OWNED, KEYS_UNAVAILABLE, or the database's error: it was asked for
   */
  async saveIfDue(envelope: EnvelopeV1, isAskedFor: boolean): Promise<void> {
    const { subject, version, checkpointEvery } = envelope;
    if (isAskedFor) {
      if (isAnonymous(subject)) throw Errors.SESSION_NOT_OWNED();
      await this.#keep(envelope);
    } else if (checkpointEvery > 0 && version % checkpointEvery === 0 && !isAnonymous(subject)) {
      await this.#keepUnasked(envelope);
    }
  }

  /**
   * What is kept of a session; undefined when nothing is.
   *
   * @throws StatusError SESSION_NOT_FOUND: it was changed in the table, or is another's
   */
  async read(sessionId: string): Promise<EnvelopeV1 | undefined> {
    const row = await readCheckpoint(this.#pool, this.#schema, sessionId);
    if (row === undefined) return undefined;
    const successor = (await this.#savedResponses.open(row.content))?.successor;
    // What an anchor keeps has a digest: put here, it would be a way back.
    if (
      successor?.version === row.version &&
      successor.digest.length === 0 &&
      successor.sessionId.equals(uuidToBytes(sessionId))
    ) {
      return successor;
    }
    throw Errors.SESSION_NOT_FOUND({ alarm: true, cause: "its checkpoint is not its own" });
  }

  /** Without Postgres the sessions go on, and none of their calls waits long for it. */
  async #keepUnasked(envelope: EnvelopeV1): Promise<void> {
    if (performance.now() < this.#restsUntil) return;
    const late = Promise.withResolvers<never>();
    const timer = setTimeout(() => late.reject(new Error("it took too long")), PATIENCE_MS);
    try {
      await Promise.race([this.#keep(envelope), late.promise]);
    } catch (error) {
      this.#restsUntil = performance.now() + REST_MS;
      this.#failed(error);
    } finally {
      clearTimeout(timer);
    }
  }

  async #keep(envelope: EnvelopeV1): Promise<void> {
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
    // Listed first: what can be resumed can be found.
    await this.#directory?.register({ id, subject, expiresAt: Number(expiresAt) * 1000 });
    await this.#groups.add({ sessionId: id, version, content });
  }
}
