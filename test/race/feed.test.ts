import { randomBytes, randomUUID } from "node:crypto";
import type { Client } from "pg";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import type { Revocation } from "#proto/waybill/keys/v1/keys.ts";
import type { Context } from "#shared/contract/handlers.ts";
import { createPool, type Pool } from "#shared/pg/pool.ts";
import { AuditLog } from "../../services/auditLog/auditLog.ts";
import type { KeysDependencies } from "../../services/keys/index.ts";
import { revoke } from "../../services/keys/revoke.ts";
import { insertRevocations } from "../../services/keys/sql/insertRevocations.ts";
import { connect, untilBlocked } from "../support/gate.ts";
import { migratedPostgres, type TestPostgres } from "../support/postgres.ts";
import { withoutGuard } from "../support/withoutGuard.ts";

const FULL = expect.objectContaining({ reason: "TOO_MANY_SESSIONS_ENDED" });

let postgres: TestPostgres;
let pool: Pool;
let [gate, watcher]: Client[] = [];
/** An owner with 999 ended sessions on the feed. */
let owner: string;

beforeAll(async () => {
  postgres = await migratedPostgres();
  pool = createPool(postgres.url, { max: 10, name: "race" });
  [gate, watcher] = await Promise.all([connect(postgres.url), connect(postgres.url)]);
});
beforeEach(async () => {
  owner = `users/${randomUUID()}`;
  await insertRevocations(
    pool,
    Array.from({ length: 999 }, () => row()),
  );
});
afterAll(async () => {
  await Promise.all([gate?.end(), watcher?.end(), pool?.end()]);
  await postgres?.remove();
});

const row = () =>
  ({
    kind: "session",
    id: randomBytes(16),
    target: randomUUID(),
    epoch: 0,
    owner,
    ttlS: 60,
  }) as const;
const session = (): Revocation => ({
  id: randomBytes(16),
  target: { $case: "session", value: { id: randomUUID(), owner } },
  ttl: { seconds: 60n, nanos: 0 },
});

const end = (...revocations: Revocation[]) => endOn(pool, ...revocations);
function endOn(db: Pool, ...revocations: Revocation[]): Promise<{ number: bigint }> {
  const parts = { db, feed: { wake() {} }, audit: new AuditLog(pool, "keys") };
  const caller = { service: "session" };
  const { signal } = new AbortController();
  const context = { caller, signal, origin: { address: "" } } as unknown as Context;
  return revoke(parts as unknown as KeysDependencies)({ revocations }, context);
}

/** Reads the owner's number of ended sessions, the feed's number, and the number of audit events. */
async function count(): Promise<{ ended: number; number: bigint; events: number }> {
  const { rows } = await pool.query(
    `SELECT (SELECT count(*)::integer FROM keys.revocation WHERE owner = $1) AS ended,
            (SELECT number FROM keys.feed) AS number,
            (SELECT count(*)::integer FROM keys.audit_event) AS events`,
    [owner],
  );
  return rows[0];
}

/** Ends four sessions concurrently, all of which see room for one. @returns the refusals */
async function endFour(db: Pool): Promise<PromiseSettledResult<unknown>[]> {
  await gate!.query("BEGIN; SELECT FROM keys.feed FOR UPDATE");
  const ended = Promise.allSettled(Array.from({ length: 4 }, () => endOn(db, session())));
  await untilBlocked(watcher!, 4);
  await gate!.query("COMMIT");
  return (await ended).filter(({ status }) => status === "rejected");
}

test("without the feed's lock ended sessions exceed the limit", async () => {
  expect(await withoutGuard(pool, [[/ FOR NO KEY UPDATE/]], endFour)).toEqual([]);
  expect((await count()).ended).toBe(1003);
});

test("concurrent ends are accepted up to the limit", async () => {
  const before = await count();
  const refused = await endFour(pool);
  expect(refused).toEqual(Array(3).fill({ status: "rejected", reason: FULL }));
  // Refused calls leave nothing behind.
  expect(await count()).toEqual({
    ended: 1000,
    number: before.number + 1n,
    events: before.events + 1,
  });
});

test("one call ends all of its sessions or none", async () => {
  const before = await count();
  await expect(end(session(), session())).rejects.toThrow(FULL);
  expect(await count()).toEqual(before);
});

test("ending a session already on the feed succeeds", async () => {
  const last = session();
  await end(last, last);
  const { ended } = await count();
  expect(ended).toBe(1000);
  await end(last);
  expect((await count()).ended).toBe(ended);
  await expect(end(last, session())).rejects.toThrow(FULL);
  // Other owners have their own limit.
  owner = `users/${randomUUID()}`;
  await end(session());
});

test("concurrent retries for the last place both succeed", async () => {
  const last = session();
  await gate!.query("BEGIN; SELECT FROM keys.feed FOR UPDATE");
  const ended = [end(last), end(last)];
  await untilBlocked(watcher!, 2);
  await gate!.query("COMMIT");
  const [one, other] = await Promise.all(ended);
  // An entry that is on the feed already takes no number.
  expect(one!.number).toBe(other!.number);
  expect((await count()).ended).toBe(1000);
});
