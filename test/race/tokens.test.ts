import { randomBytes } from "node:crypto";
import { Metadata } from "@grpc/grpc-js";
import type { Client } from "pg";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import type { Assertions } from "#shared/auth/assertions.ts";
import { wrapping } from "#shared/auth/credentials/wrapping.ts";
import { AccessTokens } from "#shared/auth/tokens/accessTokens.ts";
import { importKeys } from "#shared/auth/tokens/verificationKeys.ts";
import type { Context } from "#shared/contract/handlers.ts";
import { databaseError } from "#shared/pg/errors.ts";
import { Notifications } from "#shared/pg/notifications.ts";
import { createPool, type Pool } from "#shared/pg/pool.ts";
import { transaction } from "#shared/pg/transaction.ts";
import { newUuid } from "#shared/runtime/ids.ts";
import { createLog } from "#shared/runtime/log.ts";
import { AuditLog } from "../../services/auditLog/auditLog.ts";
import { Attempts } from "../../services/identity/attempts.ts";
import { Outbox } from "../../services/identity/outbox.ts";
import { revocationsFeed } from "../../services/keys/feed.ts";
import { FEED_CHANNEL, insertRevocations } from "../../services/keys/sql/insertRevocations.ts";
import { readRevocations } from "../../services/keys/sql/readRevocations.ts";
import { Families } from "../../services/token/signIns/families.ts";
import { endSubject } from "../../services/token/signIns/sql/endSubject.ts";
import type { NewFamily } from "../../services/token/signIns/sql/insertFamily.ts";
import { lockSubject } from "../../services/token/signIns/sql/lockSubject.ts";
import { getJwks } from "../../services/token/signingKeys/getJwks.ts";
import { SigningKeys } from "../../services/token/signingKeys/signingKeys.ts";
import { Spending } from "../../services/token/spending.ts";
import { mint } from "../../services/token/tokens/mint.ts";
import { connect, untilBlocked, untilListening } from "../support/gate.ts";
import { migratedPostgres, type TestPostgres } from "../support/postgres.ts";
import { refusal } from "../support/refusal.ts";
import { startCuttable } from "../support/wire/cuttable.ts";
import { type Guard, withoutGuard } from "../support/withoutGuard.ts";

let postgres: TestPostgres;
let gate: Client;
let watcher: Client;
/** Two replicas, each with its own connections and queue of redemptions. */
let pools: [Pool, Pool];
let families: [Families, Families];
/** Entries that the feed received. */
const told: unknown[] = [];

beforeAll(async () => {
  postgres = await migratedPostgres();
  gate = await connect(postgres.url);
  watcher = await connect(postgres.url);
  const pool = () => createPool(postgres.url, { max: 8, name: "race" });
  pools = [pool(), pool()];
  families = [familiesOn(pools[0]), familiesOn(pools[1])];
});
afterAll(async () => {
  await Promise.all(pools.map((pool) => pool.end()));
  await gate.end();
  await watcher.end();
  await postgres.remove();
});
beforeEach(() => {
  told.length = 0;
});

function familiesOn(db: Pool): Families {
  const feed = { send: async (sent: readonly unknown[]) => void told.push(...sent) };
  const lives = { idleS: 3600, absoluteS: 7200, descendantS: 7200 };
  return new Families(db, new AuditLog(db, "token"), feed, lives);
}

const context = { caller: {}, origin: { address: "", certificate: undefined } } as Context;

function newFamily(changes: Partial<NewFamily> = {}): NewFamily {
  const id = newUuid();
  return {
    ...{ id, subject: `users/${id}`, client: "", scopes: [], audiences: [], epoch: 1 },
    ...{ device: "", address: "", confirmation: "", keyId: "k", ...changes },
  };
}

async function begin(changes: Partial<NewFamily> = {}): Promise<string> {
  const family = newFamily(changes);
  expect(await families[0].begin(family)).toBe(true);
  return family.id;
}

const presented = (family: string, generation: number, key: string | null, isProven = false) => ({
  ...{ family, generation, redemption: key === null ? null : Buffer.from(key) },
  ...{ client: "", confirmation: "", isProven, address: "" },
});

/** Runs calls while the family's row is locked, so that they run concurrently afterwards. */
async function meeting<T>(
  family: string,
  waiting: number,
  calls: () => Promise<T>[],
): Promise<T[]> {
  await gate.query("BEGIN");
  await gate.query("SELECT FROM token.family WHERE id = $1 FOR UPDATE", [family]);
  const made = calls();
  await untilBlocked(watcher, waiting);
  await gate.query("COMMIT");
  return Promise.all(made);
}

const FAMILY_LOCK: Guard = [/ORDER BY id FOR UPDATE/];

test("without the family's lock concurrent refreshes make two successors", async () => {
  const family = await begin();
  const answers = await withoutGuard(pools[0], [FAMILY_LOCK], (db) =>
    meeting(family, 2, () =>
      ["owner", "thief"].map((key) => familiesOn(db).redeem(presented(family, 1, key))),
    ),
  );
  expect(answers.map((answer) => answer?.outcome)).toEqual(["next", "next"]);
});

test("G2 concurrent refreshes over two replicas share one successor", async () => {
  for (const [key, isProven] of [
    ["one key", false],
    [null, true],
    [null, false],
  ] as const) {
    const family = await begin();
    const answers = await meeting(family, 2, () =>
      Array.from({ length: 20 }, (_, n) =>
        families[n % 2]!.redeem(presented(family, 1, key, isProven)),
      ),
    );
    expect(new Set(answers.map((answer) => answer?.generation))).toEqual(new Set([2]));
    const outcomes = answers.map((answer) => answer?.outcome);
    expect(outcomes.filter((outcome) => outcome === "next")).toHaveLength(1);
    expect(new Set(outcomes)).toEqual(new Set(["next", key || isProven ? "same" : "early"]));
  }
  expect(told).toEqual([]);
});

test("G4 a concurrent refresh with another key revokes the family", async () => {
  const family = await begin();
  const answers = await meeting(family, 2, () => [
    families[0].redeem(presented(family, 1, "owner")),
    families[1].redeem(presented(family, 1, "thief")),
  ]);
  expect(answers.map((answer) => answer?.outcome).sort()).toEqual(["next", "reuse"]);
  expect(told).toMatchObject([{ target: { $case: "family", value: family } }]);
  const later = await families[0].redeem(presented(family, 2, "owner"));
  expect(later?.outcome).toBe("ended");
});

/** Redeems a refresh token while its family ends. */
async function refreshDuringEnd(family: string, on: Families) {
  await gate.query("BEGIN");
  await gate.query("UPDATE token.family SET ended_at = now() WHERE id = $1", [family]);
  const refreshed = on.redeem(presented(family, 1, "key"));
  await untilBlocked(watcher, 1);
  await gate.query("COMMIT");
  return (await refreshed)?.outcome;
}

test("without the lock a refresh revives a revoked family", async () => {
  const family = await begin();
  const outcome = await withoutGuard(pools[0], [FAMILY_LOCK], (db) =>
    refreshDuringEnd(family, familiesOn(db)),
  );
  expect(outcome).toBe("next");
  const later = await families[0].redeem(presented(family, 2, "key"));
  expect(later?.outcome).toBe("next");
});

test("a refresh precedes a concurrent revocation or is refused", async () => {
  expect(await refreshDuringEnd(await begin(), families[0])).toBe("ended");

  const other = await begin();
  const [outcome, ended] = await meeting<unknown>(other, 2, () => [
    families[0].redeem(presented(other, 1, "key")).then((answer) => answer?.outcome),
    families[1].end(`users/${other}`, { only: other }, "test", context),
  ]);
  expect(ended).toBe(1);
  expect(["next", "ended"]).toContain(outcome);
  const later = await families[1].redeem(presented(other, 2, "key"));
  expect(later?.outcome).toBe("ended");
});

test("a retry of an undelivered end waits until delivery", async () => {
  const feed = {
    fails: true,
    send: async (sent: readonly unknown[]) => {
      if (feed.fails) throw new Error("the feed is away");
      told.push(...sent);
    },
  };
  const lives = { idleS: 3600, absoluteS: 7200, descendantS: 7200 };
  const replica = new Families(pools[0], new AuditLog(pools[0], "token"), feed, lives);
  const family = await begin();
  const end = () => replica.end(`users/${family}`, { only: family }, "test", context);
  await expect(end()).rejects.toThrow("the feed is away");
  await expect(end()).rejects.toThrow("the feed is away");
  feed.fails = false;
  expect(await end()).toBe(0);
  expect(told).toMatchObject([{ target: { $case: "family", value: family } }]);
  await end();
  expect(told).toHaveLength(1);
});

test("the next reader delivers what waits in the outbox", async () => {
  let isAway = true;
  const sent: unknown[] = [];
  const reach = async (what: unknown) => {
    if (isAway) throw new Error("away");
    sent.push(what);
  };
  const outbox = new Outbox({
    db: pools[0],
    feed: { send: reach },
    token: { endSubject: (request) => reach(request).then(() => ({})) },
    assertions: { to: async () => new Metadata() } as unknown as Assertions,
    ttlS: 60,
  });
  const rows = await transaction(pools[0], async (tx) => [await outbox.put(tx, "users/a", 7)]);
  await expect(outbox.deliver(rows)).rejects.toThrow("away");
  // Its writer has time to deliver it first.
  await outbox.deliverLeftOvers();
  await gate.query("UPDATE identity.outbox SET created_at = now() - interval '1 minute'");
  await expect(outbox.deliverLeftOvers()).rejects.toThrow("away");
  isAway = false;
  await outbox.deliverLeftOvers();
  expect(sent).toMatchObject([
    [{ id: rows[0]!.id, target: { value: { subject: "users/a", epoch: 7 } } }],
    { subject: "users/a", epoch: 7 },
  ]);
  await outbox.deliverLeftOvers();
  expect(sent).toHaveLength(2);
});

test("without the subject's lock a sign-in survives ending all", async () => {
  const family = newFamily();
  await gate.query("BEGIN");
  // The sign-in reads before the end commits; the end reads before the sign-in commits.
  expect(await endSubject(gate, family.subject, 2)).toBe(0);
  const isBegun = await withoutGuard(pools[0], [[/pg_advisory_xact_lock/, "concat"]], (db) =>
    familiesOn(db).begin(family),
  );
  await gate.query("COMMIT");
  expect(isBegun).toBe(true);
  const answer = await families[0].redeem(presented(family.id, 1, "key"));
  expect(answer?.outcome).toBe("next");
});

test("G7 ending all sign-ins refuses a concurrent sign-in", async () => {
  const family = newFamily();
  await gate.query("BEGIN");
  await lockSubject(gate, family.subject);
  await endSubject(gate, family.subject, 2);
  const begun = families[0].begin(family);
  await untilBlocked(watcher, 1);
  await gate.query("COMMIT");
  expect(await begun).toBe(false);
  // A sign-in with the new epoch is not affected.
  expect(await families[0].begin({ ...family, id: newUuid(), epoch: 2 })).toBe(true);
});

/** Spends one id many times concurrently on two replicas. @returns how many uses were the first */
async function firstUses(id: string, [one, other]: readonly [Pool, Pool]): Promise<number> {
  const spending = [new Spending(one), new Spending(other)] as const;
  await gate.query("BEGIN; LOCK TABLE token.spent IN SHARE MODE");
  const uses = Array.from({ length: 20 }, (_, n) => spending[n % 2]!.once(id, 60));
  await untilBlocked(watcher, 2);
  await gate.query("COMMIT");
  return (await Promise.all(uses)).filter((first) => first).length;
}

test("without the row count there are two first uses", async () => {
  const guard: Guard = [/DO NOTHING/, "DO UPDATE SET expires_at = excluded.expires_at"];
  const firsts = withoutGuard(pools[0], [guard], (db) => firstUses("unguarded", [db, db]));
  expect(await firsts).toBe(2);
});

test("P2 one of many concurrent uses is first", async () => {
  expect(await firstUses("id", pools)).toBe(1);
  const spending = new Spending(pools[0]);
  expect(await spending.once("id", 60)).toBe(false);
  expect(await spending.once("another id", 60)).toBe(true);
});

const schedule = { algorithm: "EdDSA", rotateS: 1e6, accessKeepS: 1e6, refreshKeepS: 1e6 } as const;

test("replicas that start together create one key per use", async () => {
  await gate.query("DELETE FROM token.signing_key");
  const wrap = wrapping(randomBytes(32));
  const replicas = pools.flatMap((pool) =>
    [1, 2, 3].map(() => new SigningKeys(pool, wrap, { ...schedule, publishS: 0 })),
  );
  await Promise.all(replicas.map((keys) => keys.maintain()));
  expect(new Set(replicas.map((keys) => keys.current("access").id)).size).toBe(1);
  expect(new Set(replicas.map((keys) => keys.current("refresh").id)).size).toBe(1);
});

test("another replica's new refresh key is known at once", async () => {
  await gate.query("DELETE FROM token.signing_key");
  const wrap = wrapping(randomBytes(32));
  const keys = new SigningKeys(pools[0], wrap, { ...schedule, publishS: 0 });
  await keys.maintain();
  const before = keys.current("refresh").id;
  const other = new SigningKeys(pools[1], wrap, { ...schedule, publishS: 0, rotateS: -1 });
  await other.maintain();
  const after = other.current("refresh").id;
  expect(after).not.toBe(before);
  expect((await keys.refreshKey(after))?.id).toBe(after);
  expect((await keys.refreshKey(before))?.id).toBe(before);
  expect(keys.current("refresh").id).toBe(after);
  // An access key is not a refresh key.
  expect(await keys.refreshKey(keys.current("access").id)).toBeUndefined();
});

test("a failed key look-up is not cached as missing", async () => {
  await gate.query("DELETE FROM token.signing_key");
  const wrap = wrapping(randomBytes(32));
  const maker = new SigningKeys(pools[0], wrap, { ...schedule, publishS: 0 });
  await maker.maintain();
  const { id } = maker.current("refresh");
  const url = new URL(postgres.url);
  const way = await startCuttable(url.host);
  url.host = way.target;
  const pool = createPool(url.href, { max: 4, name: "cut off", connectTimeoutMs: 500 });
  const keys = new SigningKeys(pool, wrap, { ...schedule, publishS: 0 });
  way.cut();
  const ask = () => Promise.allSettled([1, 2, 3].map(() => keys.refreshKey(id)));
  // Concurrent callers share one failed look-up; for a second, later callers get its error.
  for (let round = 0; round < 2; round += 1) {
    for (const asked of await ask()) {
      expect(databaseError((asked as PromiseRejectedResult).reason)).toMatchObject({
        reason: "DATABASE_UNAVAILABLE",
      });
    }
  }
  way.mend();
  const found = () => keys.refreshKey(id).then((key) => key?.id);
  await expect.poll(() => found().catch(() => "unavailable"), { timeout: 30_000 }).toBe(id);
  // A key that is not in the table does not exist.
  expect(await keys.refreshKey("AAAAAAAAAAA")).toBeUndefined();
  await pool.end();
  await way.close();
});

test("a signing key must be published before it signs", async () => {
  const wrap = wrapping(randomBytes(32));
  for (const [publishS, isRefused] of [
    [0, true],
    [1200, false],
  ] as const) {
    await gate.query("DELETE FROM token.signing_key");
    const [signing, other] = [
      new SigningKeys(pools[0], wrap, { ...schedule, publishS }),
      new SigningKeys(pools[1], wrap, { ...schedule, publishS }),
    ];
    await signing.maintain();
    await other.maintain();
    // A cached JWKS that is not yet due for a refresh (ten minutes).
    const { data } = await getJwks({ keys: other })();
    const cached = await importKeys(JSON.parse(data.toString()), ["EdDSA"]);
    const find = (kid: string) => cached.get(kid);
    const tokens = new AccessTokens("https://a", { find, refresh: async () => {} });
    await signing.rotate();
    const claims = {
      ...{ subject: "users/a", client: "", audiences: ["a"], scopes: [], epoch: 1 },
      ...{ family: undefined, actors: [], mayAct: undefined, confirmation: undefined },
    };
    const nowS = Math.floor(Date.now() / 1000);
    const expiresAt = nowS + 300;
    const jwt = mint("https://a", signing.current("access"), { ...claims, expiresAt }, nowS);
    const verified = await Promise.resolve(tokens.verify(jwt)).then(
      () => false,
      () => true,
    );
    expect(verified, `published ${publishS} s before`).toBe(isRefused);
    // Every replica changes to the new key at the same time.
    await other.reload();
    expect(other.current("access").id).toBe(signing.current("access").id);
    expect(other.published).toHaveLength(2);
  }
});

const revocation = () => ({
  ...{ id: randomBytes(16), kind: "family", target: newUuid(), epoch: 0, owner: "", ttlS: 60 },
  kind: "family" as const,
});

test("without the lock a reader misses a late commit", async () => {
  const { number: start } = await readRevocations(pools[0], 0n);
  await gate.query(`CREATE SEQUENCE feed_sequence START ${start + 1n}`);
  const head: Guard = [
    /UPDATE keys\.feed .* RETURNING number/,
    "SELECT nextval('feed_sequence') AS number",
  ];
  await gate.query("BEGIN");
  await withoutGuard(gate, [head], (db) => insertRevocations(db, [revocation()]));
  await withoutGuard(pools[1], [head], (db) => insertRevocations(db, [revocation()]));
  const read = async (after: bigint) =>
    (await readRevocations(pools[0], after)).rows.map((row) => row.number);
  expect(await read(start)).toEqual([start + 2n]);
  await gate.query("COMMIT");
  expect(await read(start + 2n)).toEqual([]);
  await gate.query("DROP SEQUENCE feed_sequence; UPDATE keys.feed SET number = number + 2");
});

test("X4 feed numbers become visible in order", async () => {
  await gate.query("BEGIN");
  const { number: start } = await readRevocations(pools[0], 0n);
  await insertRevocations(gate, [revocation()]);
  const second = insertRevocations(pools[1], [revocation()]);
  await untilBlocked(watcher, 1);
  expect(await readRevocations(pools[0], start)).toMatchObject({ number: start, rows: [] });
  await gate.query("COMMIT");
  await second;
  const { number, rows } = await readRevocations(pools[0], start);
  expect(rows.map((row) => row.number)).toEqual([start + 1n, start + 2n]);
  expect(number).toBe(start + 2n);
  // A retry adds nothing.
  const again = revocation();
  await insertRevocations(pools[0], [again]);
  await insertRevocations(pools[1], [again]);
  expect((await readRevocations(pools[0], number)).rows).toHaveLength(1);
});

test("a feed entry wakes watchers of another key service", async () => {
  const log = createLog("silent");
  // It does not poll: only a notification wakes it.
  const other = revocationsFeed(pools[1], 2 ** 30);
  const heard = new Notifications(pools[1], log, { [FEED_CHANNEL]: () => other.wake() });
  const woken = () =>
    new Promise<void>((resolve) => {
      const stop = other.watch(() => {
        stop();
        resolve();
      });
    });
  const pid = await untilListening(watcher);
  const first = woken();
  await insertRevocations(pools[0], [revocation()]);
  await first;
  await gate.query("SELECT pg_terminate_backend($1)", [pid]);
  await untilListening(watcher, pid);
  const second = woken();
  await insertRevocations(pools[0], [revocation()]);
  await second;
  heard.close();
  other.close();
});

test("concurrent attempts over two replicas are all counted", async () => {
  const attempts = [new Attempts(pools[0]), new Attempts(pools[1])] as const;
  const made = await Promise.all(
    Array.from({ length: 20 }, (_, n) =>
      attempts[n % 2]!.signIn("ada", "192.0.2.1").then(
        () => "allowed",
        async (error) => (await refusal(Promise.reject(error.toStatusObject()))).reason,
      ),
    ),
  );
  expect(made.filter((outcome) => outcome === "allowed")).toHaveLength(10);
  expect(made.filter((outcome) => outcome === "TOO_MANY_ATTEMPTS")).toHaveLength(10);
});
