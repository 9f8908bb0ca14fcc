import type { Revocation, RevokeRequest, RevokeResponse } from "#proto/waybill/keys/v1/keys.ts";
import type { Context } from "#shared/contract/handlers.ts";
import { Errors } from "#shared/errors.ts";
import { during } from "#shared/pg/during.ts";
import type { Db } from "#shared/pg/pool.ts";
import { transaction } from "#shared/pg/transaction.ts";
import { actorOf } from "../auditLog/auditLog.ts";
import type { KeysDependencies } from "./index.ts";
import { countSessionRevocations } from "./sql/countSessionRevocations.ts";
import { insertRevocations, type NewRevocation } from "./sql/insertRevocations.ts";
import { lockFeed } from "./sql/lockFeed.ts";

/** Who knows of accounts and sign-ins. Sessions may be revoked by every service. */
const REVOKERS = new Set(["identity", "token"]);
/** Ended sessions of one owner that the feed remembers. */
const MOST_SESSIONS = 1000;
const MAX_TTL_S = 400 * 24 * 60 * 60;

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
    // Who has no room left is refused before he could keep others waiting for the feed.
    await assertRoom(during(db, context), sessions);
    const number = await transaction(db, async (tx) => {
      // The events first: the feed's row is locked from the next statement until the commit.
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
 * Everything on the feed is in every replica's memory: nobody fills it alone.
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
