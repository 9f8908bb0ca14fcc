import { randomBytes } from "node:crypto";
import { SessionState } from "#proto/waybill/session/v1/session.ts";
import { Checkpoints } from "#shared/anchors/checkpoints.ts";
import { SavedResponses, savedAudience } from "#shared/anchors/savedResponses.ts";
import type { Directory } from "#shared/anchors/sessionDirectory.ts";
import { Spills } from "#shared/anchors/spills.ts";
import type { Pool } from "#shared/pg/pool.ts";
import { Sessions } from "#shared/waybill/sessions.ts";
import { SessionDirectory } from "../../../services/session/directory/sessionDirectory.ts";
import { readEntry } from "../../../services/session/sql/readEntry.ts";
import { contract } from "../../support/clients.ts";
import { makeRingSource } from "../../support/rings.ts";

const BEGIN = "/waybill.session.v1.SessionService/BeginSession";
const OWNER = { subject: "users/ada", client: "app", epoch: 1 };
const STATE_BYTES = 10_000;

interface Kept {
  /** Expiry of its session's last waybill, in ms since the Unix epoch. */
  readonly expiresAt: number;
  /** Reads the row from the table, as a call does. */
  isThere(): Promise<boolean>;
}

/**
 * Rows that only some sessions have besides their anchor: a directory entry, a spilled state, a checkpoint.
 * Each must exist as long as any waybill of its session may be valid.
 */
export class KeptRows {
  readonly #pool: Pool;
  readonly #sessions: Sessions<SessionState>;
  readonly #directory: Directory;
  readonly #spills: Spills;
  readonly #checkpoints: Checkpoints;
  readonly #all: Kept[] = [];
  #found = 0;
  #lost = 0;

  /** @param lifeS lifetime of the sessions, in seconds */
  constructor(pool: Pool, lifeS: number) {
    this.#pool = pool;
    const life = { idleS: lifeS, absoluteS: lifeS };
    const ring = makeRingSource("session");
    const session = { ...contract.method(BEGIN).session!, ...life };
    this.#sessions = new Sessions(session, SessionState, ring);
    this.#directory = new SessionDirectory(pool).of("session");
    // A cache would hide a missing row.
    this.#spills = new Spills(pool, "session", { cache: 0 });
    const savedResponses = new SavedResponses("session", makeRingSource(savedAudience("session")));
    this.#checkpoints = new Checkpoints(pool, "session", savedResponses, {
      directory: this.#directory,
    });
  }

  /** Number of rows created. */
  get made(): number {
    return this.#all.length;
  }

  /** Reads before the expiry of a row: found, and missing. */
  get looks(): { readonly found: number; readonly lost: number } {
    return { found: this.#found, lost: this.#lost };
  }

  /**
   * Gives a session an owner and a spilled state, and begins a carried session with a checkpoint beside it.
   */
  async add(sessionId: string, expiresAt: number): Promise<void> {
    const { subject } = OWNER;
    const state = randomBytes(STATE_BYTES);
    const carried = this.#sessions.begin(OWNER);
    const first = this.#sessions.successor(carried, this.#sessions.encode(carried.state));
    const [spill] = await Promise.all([
      this.#spills.store(sessionId, state, undefined),
      this.#directory.register({ id: sessionId, subject, expiresAt }),
      this.#checkpoints.saveIfDue(first, true),
    ]);
    this.#all.push(
      {
        expiresAt,
        isThere: async () => (await this.#spills.load(sessionId, spill))?.equals(state) ?? false,
      },
      {
        expiresAt,
        isThere: async () => (await readEntry(this.#pool, sessionId, subject)) !== undefined,
      },
      {
        expiresAt: carried.expiresAt,
        isThere: async () => (await this.#checkpoints.read(carried.id)) !== undefined,
      },
    );
  }

  /** Reads the rows that have not expired. */
  async look(): Promise<void> {
    const now = Date.now();
    await Promise.all(
      this.#all
        .filter(({ expiresAt }) => now < expiresAt)
        .map(async (kept) => {
          if (await kept.isThere()) this.#found += 1;
          // It may have expired meanwhile.
          else if (Date.now() < kept.expiresAt) this.#lost += 1;
        }),
    );
  }

  /** Counts the rows, expired or not. */
  async left(): Promise<number> {
    const there = await Promise.all(this.#all.map((kept) => kept.isThere()));
    return there.filter((isThere) => isThere).length;
  }
}
