import { type Context, Errors } from "waybill";
import { type Db, during } from "waybill/postgres";
import type { Revocation, RevokeRequest, RevokeResponse } from "#proto/waybill/keys/v1/keys.ts";
import { transaction } from "#shared/pg/transaction.ts";
import { actorOf } from "../auditLog/auditLog.ts";
import type { KeysDependencies } from "./index.ts";
import { countSessionRevocations } from "./sql/countSessionRevocations.ts";
import { insertRevocations, type NewRevocation } from "./sql/insertRevocations.ts";
import { lockFeed } from "./sql/lockFeed.ts";

/** Services that may revoke subjects, families and tokens. Every service may revoke sessions. */
const REVOKERS = new Set(["identity", "token"]);
/** Limit of revoked sessions of one owner on the feed. */
const MOST_SESSIONS = 1000;
const MAX_TTL_S = 400 * 24 * 60 * 60;

/** Puts revocations on the feed. Returns once they are durable. */
export const revoke =
  ({ db, feed, audit }: KeysDependencies) =>
  async ({ revocations }: RevokeRequest, context: Context): Promise<RevokeResponse> => {
    const { service = "" } = context.caller;
    const rows = revocations.map(toRow);
    if (rows.some((row) => row.kind !== "session") && !REVOKERS.has(service)) {
      throw Errors.ACCESS_DENIED({ metadata: { method: context.method } });
    }
    const events = rows.map(({ kind, target, epoch }) => ({
      ...actorOf(context),
      action: "revocation.add",
      target: kind === "subjectEpoch" ? target : `${kind}/${target}`,
      ...(kind === "subjectEpoch" && { details: { epoch: `${epoch}` } }),
    }));
    const sessions = rows.filter(({ kind }) => kind === "session");
    // Refuses an owner over the limit before taking the lock that other callers wait for.
    await assertRoom(during(db, context), sessions);
    const number = await transaction(db, async (tx) => {
      // Audit events first: the next statement locks the feed's row until the commit.
      await audit.writeWith(tx, ...events);
      if (sessions.length > 0) {
        await lockFeed(tx);
        await assertRoom(tx, sessions);
      }
      return insertRevocations(tx, rows);
    });
    feed.wake();
    return { number };
  };

/**
 * Limits the revoked sessions of one owner, because every replica holds the whole feed in memory.
 *
 * @throws StatusError TOO_MANY_SESSIONS_ENDED
 */
async function assertRoom(db: Db, sessions: NewRevocation[]): Promise<void> {
  if (sessions.length === 0) return;
  const most = await countSessionRevocations(db, sessions);
  if (most > MOST_SESSIONS) throw Errors.TOO_MANY_SESSIONS_ENDED({ retryAfterMs: 60_000 });
}

function toRow({ id, target, ttl }: Revocation): NewRevocation {
  const row = { id, epoch: 0, owner: "", ttlS: Math.min(Number(ttl?.seconds ?? 0n), MAX_TTL_S) };
  const { $case: kind, value } = target!;
  switch (kind) {
    case "subjectEpoch":
      return { ...row, kind, target: value.subject, epoch: value.epoch };
    case "session":
      return { ...row, kind, target: value.id, owner: value.owner };
    default:
      return { ...row, kind, target: value };
  }
}
