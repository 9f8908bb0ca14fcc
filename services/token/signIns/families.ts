import { randomBytes } from "node:crypto";
import type { Logger } from "pino";
import type { Context } from "waybill";
import type { RevocationFeed } from "waybill/auth";
import type { Pool } from "waybill/postgres";
import { GroupCommit } from "#shared/pg/groupCommit.ts";
import { transaction } from "#shared/pg/transaction.ts";
import { newUuid } from "#shared/runtime/ids.ts";
import { type AuditLog, actorOf } from "../../auditLog/auditLog.ts";
import { endFamilies, type Which } from "./sql/endFamilies.ts";
import { endSubject } from "./sql/endSubject.ts";
import { insertFamily, type NewFamily } from "./sql/insertFamily.ts";
import { lockSubject } from "./sql/lockSubject.ts";
import {
  deleteOutbox,
  insertOutbox,
  type OutboxRow,
  readOutbox,
  readOutboxOf,
} from "./sql/outbox.ts";
import { type Presented, type Redeemed, redeem } from "./sql/redeem.ts";

/** Lifetimes in seconds. */
export interface FamilyLives {
  /** Longest time between two refreshes. */
  readonly idleS: number;
  readonly absoluteS: number;
  /** Longest lifetime of a token or session of a family, and so of its revocation on the feed. */
  readonly descendantS: number;
}

/** Stores sign-ins as families of refresh tokens. An end is on the feed before a call returns. */
export class Families {
  readonly #db: Pool;
  readonly #audit: AuditLog;
  readonly #feed: Pick<RevocationFeed, "send">;
  readonly #lives: FamilyLives;
  readonly #log: Pick<Logger, "warn"> | undefined;
  readonly #redemptions: GroupCommit<Presented, Redeemed | undefined>;

  /** @param log gets a warning for each reuse; undefined: only an audit event */
  constructor(
    db: Pool,
    audit: AuditLog,
    feed: Pick<RevocationFeed, "send">,
    lives: FamilyLives,
    log?: Pick<Logger, "warn">,
  ) {
    this.#db = db;
    this.#log = log;
    this.#audit = audit;
    this.#feed = feed;
    this.#lives = lives;
    this.#redemptions = new GroupCommit((tokens) => this.#redeem(tokens));
  }

  /** Begins a family. @returns false when the subject's sign-ins have been ended concurrently */
  begin(family: NewFamily): Promise<boolean> {
    const { idleS, absoluteS } = this.#lives;
    return transaction(this.#db, async (tx) => {
      await lockSubject(tx, family.subject);
      if (!(await insertFamily(tx, family, idleS, absoluteS))) return false;
      await this.#audit.writeWith(tx, {
        action: "token.signIn",
        actor: family.subject,
        client: family.client,
        target: `signIns/${family.id}`,
        address: family.address,
        details: { device: family.device, scopes: family.scopes.join(" ") },
      });
      return true;
    });
  }

  /** Redeems a refresh token. @returns undefined when the family does not exist */
  async redeem(token: Omit<Presented, "eventId">): Promise<Redeemed | undefined> {
    const redeemed = await this.#redemptions.add({ ...token, eventId: newUuid() });
    const { revocationId: id } = redeemed ?? {};
    if (redeemed && id) {
      const { family, subject, client } = redeemed;
      const { address } = token;
      this.#log?.warn(
        { family, subject, client, address },
        "refresh token reused: its family was ended; the token may be stolen",
      );
      await this.#deliver([{ id, family }]);
    }
    return redeemed;
  }

  /** Ends families of a subject. @returns the number of active families that it ended */
  async end(subject: string, which: Which, reason: string, context: Context): Promise<number> {
    const left = await transaction(this.#db, async (tx) => {
      const ended = await endFamilies(tx, subject, which, reason);
      const rows = ended.map((family) => ({ id: randomBytes(16), family }));
      if (rows.length === 0) return rows;
      await insertOutbox(tx, rows);
      const entries = ended.map((id) => ({
        ...actorOf(context),
        action: "signIn.end",
        target: `signIns/${id}`,
        details: { reason },
      }));
      await this.#audit.writeWith(tx, ...entries);
      return rows;
    });
    // A retry, after a delivery that failed, delivers the entries of the first call.
    const isRetry = left.length === 0 && "only" in which;
    await this.#deliver(isRetry ? await readOutboxOf(this.#db, which.only) : left);
    return left.length;
  }

  /** Ends every family of a subject below an epoch. The feed has the epoch already. */
  async endSubject(subject: string, epoch: number, context: Context): Promise<void> {
    await transaction(this.#db, async (tx) => {
      await lockSubject(tx, subject);
      const ended = await endSubject(tx, subject, epoch);
      const details = { epoch: `${epoch}`, ended: `${ended}` };
      const entry = { ...actorOf(context), action: "signIn.endAll", target: subject, details };
      await this.#audit.writeWith(tx, entry);
    });
  }

  /** Delivers the entries of replicas that stopped, or failed to deliver. */
  async deliverLeftOvers(): Promise<void> {
    await this.#deliver(await readOutbox(this.#db));
  }

  async #deliver(rows: readonly OutboxRow[]): Promise<void> {
    if (rows.length === 0) return;
    const ttl = { seconds: BigInt(this.#lives.descendantS), nanos: 0 };
    await this.#feed.send(
      rows.map(({ id, family }) => ({ id, target: { $case: "family", value: family }, ttl })),
    );
    await deleteOutbox(
      this.#db,
      rows.map(({ id }) => id),
    );
  }

  /** Redeems tokens in as few statements as possible: a statement has one token of each family. */
  async #redeem(tokens: Presented[]): Promise<(Redeemed | undefined)[]> {
    const results = new Map<Presented, Redeemed>();
    for (let left = tokens; left.length > 0; ) {
      const first = new Map<string, Presented>();
      for (const token of left) if (!first.has(token.family)) first.set(token.family, token);
      const now = [...first.values()];
      for (const redeemed of await redeem(this.#db, now, this.#lives.idleS)) {
        results.set(first.get(redeemed.family)!, redeemed);
      }
      left = left.filter((token) => first.get(token.family) !== token);
    }
    return tokens.map((token) => results.get(token));
  }
}
