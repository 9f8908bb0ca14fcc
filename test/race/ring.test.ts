import { randomBytes } from "node:crypto";
import type { Client } from "pg";
import { afterAll, beforeAll, expect, test } from "vitest";
import { wrapping } from "#shared/auth/credentials/wrapping.ts";
import { Notifications } from "#shared/pg/notifications.ts";
import { createPool, type Pool } from "#shared/pg/pool.ts";
import { createLog } from "#shared/runtime/log.ts";
import { AuditLog } from "../../services/auditLog/auditLog.ts";
import { Rings } from "../../services/keys/rings/rings.ts";
import { RING_CHANNEL } from "../../services/keys/rings/sql/updateVersion.ts";
import { Versions } from "../../services/keys/versions.ts";
import { connect, untilBlocked, untilListening } from "../support/gate.ts";
import { migratedPostgres, type TestPostgres } from "../support/postgres.ts";
import { type Guard, withoutGuard } from "../support/withoutGuard.ts";

const wrap = wrapping(randomBytes(32));

const TERMS = { leaseS: 30, graceS: 5, keepS: 60 };
const ME = { actor: "services/keys" };
const [PENDING, ACTIVE, RETIRED, DESTROYED] = [1, 2, 3, 4];

let postgres: TestPostgres;
let pool: Pool;
let [gate, watcher]: Client[] = [];
beforeAll(async () => {
  postgres = await migratedPostgres();
  pool = createPool(postgres.url, { max: 10, name: "race" });
  [gate, watcher] = await Promise.all([connect(postgres.url), connect(postgres.url)]);
});

function ringsWith(by = wrap, db = pool): Rings {
  const versions = { tell() {} };
  const audit = new AuditLog(pool, "keys");
  return new Rings({ db, wrapping: by, terms: TERMS, versions, audit });
}
const ringOf = (audience: string, by = wrap) => ringsWith(by).get(audience, ME);
const statesOf = async (audience: string, by = wrap) =>
  (await ringOf(audience, by)).keys.map(({ state }) => state).sort();
const sealerOf = (ring: { keys: readonly { id: string; state: number | string }[] }) =>
  ring.keys.find(({ state }) => state === ACTIVE || state === "active")?.id;
const rotate = (audience: string, by = wrap) => ringsWith(by).rotate(audience, ME);
const destroy = (audience: string, id: string) => ringsWith().destroy(audience, id, ME);

afterAll(async () => {
  await Promise.all([gate?.end(), watcher?.end(), pool?.end()]);
  await postgres?.remove();
});

test("concurrent requests for a missing ring share one", async () => {
  // The gate locks the table: every replica reads that there is no ring before any inserts one.
  await gate!.query("BEGIN; LOCK TABLE keys.ring IN SHARE MODE");
  const asked = Array.from({ length: 5 }, () => ringOf("a"));
  await untilBlocked(watcher!, 5);
  await gate!.query("COMMIT");
  const rings = await Promise.all(asked);
  expect(new Set(rings.map(({ keys }) => keys.map(({ id }) => id).join())).size).toBe(1);
  expect(rings[0]!.keys.map(({ state }) => state).sort()).toEqual([PENDING, PENDING, ACTIVE]);
});

test("a change by one key service reaches another's watchers", async () => {
  await ringOf("heard");
  const log = createLog("silent");
  // It does not poll: only a notification updates it.
  const versions = new Versions(pool, log, 2 ** 30);
  const notifications = new Notifications(pool, log, {
    [RING_CHANNEL]: (said) => versions.hear(said),
  });
  const heard = Promise.withResolvers<number>();
  versions.watch("heard", heard.resolve);
  await untilListening(watcher!);
  const { after } = await rotate("heard");
  expect(await heard.promise).toBe(after.version);
  notifications.close();
  versions.close();
});

/** Rotates a ring twice concurrently. Each rotation waits to write, or for the other's lock. */
async function rotateTwice(audience: string, db: Pool): Promise<number[]> {
  await ringOf(audience);
  // This lock permits row locks, but no writes.
  await gate!.query("BEGIN; LOCK TABLE keys.ring IN SHARE MODE");
  const rotations = [1, 2].map(() => ringsWith(wrap, db).rotate(audience, ME));
  await untilBlocked(watcher!, 2);
  await gate!.query("COMMIT");
  return (await Promise.all(rotations)).map(({ after }) => after.version).sort();
}

test("without the ring's lock a concurrent rotation is lost", async () => {
  const guards: Guard[] = [[/ FOR NO KEY UPDATE/], [/ AND version < \$2::integer/]];
  const versions = await withoutGuard(pool, guards, (db) => rotateTwice("unlocked", db));
  expect(versions).toEqual([2, 2]);
});

test("with the ring's lock two rotations make two versions", async () => {
  expect(await rotateTwice("locked", pool)).toEqual([2, 3]);
});

test("concurrent rotations each promote a standby key", async () => {
  const before = await ringOf("b");
  await gate!.query("BEGIN; SELECT FROM keys.ring WHERE audience = 'b' FOR UPDATE");
  const rotations = Array.from({ length: 3 }, () => rotate("b"));
  await untilBlocked(watcher!, 3);
  await gate!.query("COMMIT");
  const rotated = await Promise.all(rotations);
  expect(rotated.map(({ after }) => after.version).sort()).toEqual([2, 3, 4]);
  expect(new Set(rotated.map(({ after }) => sealerOf(after))).size).toBe(3);
  const after = await ringOf("b");
  // No key that has sealed is lost.
  for (const { id } of before.keys) expect(after.keys.map((key) => key.id)).toContain(id);
  expect(after.keys).toHaveLength(6);
});

test("without the lock a lease gets a stale ring", async () => {
  const before = await ringOf("unguarded");
  const lease = { holder: "late", acknowledged: 0, reads: 1 };
  const { ring, after } = await withoutGuard(pool, [[/ FOR NO KEY UPDATE/]], async (db) => {
    await gate!.query("BEGIN; LOCK TABLE keys.lease IN SHARE MODE");
    const granted = ringsWith(wrap, db).grant("unguarded", lease, ME);
    // The grant has read the ring, and waits to write its lease.
    await untilBlocked(watcher!, 1);
    const rotated = await rotate("unguarded");
    await gate!.query("COMMIT");
    return { ring: (await granted).ring, after: rotated.after };
  });
  expect(sealerOf(ring)).toBe(sealerOf(before));
  expect(sealerOf(ring)).not.toBe(sealerOf(after));
});

test("with the lock a lease gets a current ring", async () => {
  await ringOf("f");
  const holder = "host/1/a";
  for (const isGrantFirst of [true, false]) {
    await gate!.query("BEGIN; SELECT FROM keys.ring WHERE audience = 'f' FOR UPDATE");
    const first = () => ringsWith().grant("f", { holder, acknowledged: 0, reads: 1 }, ME);
    const ask = isGrantFirst ? [first, () => rotate("f")] : [() => rotate("f"), first];
    const asked: ReturnType<typeof first>[] = [];
    for (const each of ask) {
      asked.push(each());
      await untilBlocked(watcher!, asked.length);
    }
    await gate!.query("COMMIT");
    const changes = await Promise.all(asked);
    const [granted, rotated] = isGrantFirst ? changes : [changes[1]!, changes[0]!];
    const isAhead = granted!.after.version < rotated!.after.version;
    expect(isAhead).toBe(isGrantFirst);
    // After both, the sealing key is among the keys of the lease.
    const known = granted!.ring.keys.map(({ id }) => id);
    expect(known).toContain(sealerOf((await ringsWith().peek("f"))!.after));
    await ringsWith().release("f", holder, ME);
  }
});

test("a key seals once every lease acknowledges it", async () => {
  const rings = ringsWith();
  const grant = (holder: string, acknowledged: number) =>
    rings.grant("g", { holder, acknowledged, reads: 1 }, ME);
  await Promise.all([grant("one", 0), grant("other", 0)]);
  const sealers = [sealerOf(await ringOf("g"))];
  const rotates = async (): Promise<boolean> => {
    const { before, after } = await rotate("g");
    sealers.push(sealerOf(after));
    return after !== before;
  };
  // The replicas received the standby keys with the ring.
  expect(await rotates()).toBe(true);
  expect(await rotates()).toBe(false);
  const { after } = await grant("one", 2);
  expect(await rotates()).toBe(false);
  // A renewal that acknowledges less has no effect.
  await grant("one", 1);
  await grant("other", after.version);
  expect(await rotates()).toBe(true);
  await grant("one", 3);
  expect(await rotates()).toBe(false);
  await watcher!.query(
    "UPDATE keys.lease SET expires_at = now() WHERE audience = 'g' AND holder = 'other'",
  );
  expect(await rotates()).toBe(true);
  await rings.release("g", "one", ME);
  expect(await rotates()).toBe(true);
  expect(new Set(sealers).size).toBe(5);
});

test("a lease that claims a future version acknowledges nothing", async () => {
  const rings = ringsWith();
  await rings.grant("h", { holder: "one", acknowledged: 9, reads: 1 }, ME);
  const { before, after } = await rotate("h");
  expect(after).toBe(before);
});

test("a destroyed key's standby takes over", async () => {
  const { keys } = await ringOf("c");
  const active = keys.find(({ state }) => state === ACTIVE)!;
  const standing = keys.filter(({ state }) => state === PENDING).map(({ id }) => id);
  const { after: first } = await destroy("c", active.id);
  const sealer = sealerOf(first)!;
  expect(standing).toContain(sealer);
  expect(await statesOf("c")).toEqual([PENDING, PENDING, ACTIVE, DESTROYED]);
  const { rows } = await watcher!.query("SELECT wrapped FROM keys.ring_key WHERE id = $1", [
    active.id,
  ]);
  expect(rows).toEqual([{ wrapped: Buffer.alloc(0) }]);
  // A destroyed standby key is replaced, a destroyed retired key is not; the sealing key stays.
  const spare = (await ringOf("c")).keys.find(({ state }) => state === PENDING)!;
  expect(sealerOf((await destroy("c", spare.id)).after)).toBe(sealer);
  expect(await statesOf("c")).toEqual([PENDING, PENDING, ACTIVE, DESTROYED, DESTROYED]);
  const next = sealerOf((await rotate("c")).after)!;
  expect(sealerOf((await destroy("c", sealer)).after)).toBe(next);
  expect(await statesOf("c")).toEqual([PENDING, PENDING, ACTIVE, DESTROYED, DESTROYED, DESTROYED]);
  const { before, after } = await destroy("c", "AAAAAAAAAAA");
  expect(after).toBe(before);
});

test("no key seals before a lease acknowledges it", async () => {
  const rings = ringsWith();
  const grant = (acknowledged: number) =>
    rings.grant("i", { holder: "one", acknowledged, reads: 1 }, ME);
  await grant(0);
  const first = await ringOf("i");
  await destroy("i", sealerOf(first)!);
  await destroy("i", sealerOf(await ringOf("i"))!);
  const second = await destroy("i", sealerOf(await ringOf("i"))!);
  // Every key that the holder knows is destroyed.
  expect(sealerOf(second.after)).toBeUndefined();
  const { after } = await grant(second.after.version);
  expect(second.after.keys.map(({ id }) => id)).toContain(sealerOf(after));
});

test("many replicas rotate a ring once on schedule", async () => {
  await ringOf("d");
  const maintain = (rotateS: number) =>
    Promise.all(Array.from({ length: 4 }, () => ringsWith().maintain(rotateS)));
  await maintain(3600);
  expect(await statesOf("d")).toEqual([PENDING, PENDING, ACTIVE]);
  await watcher!.query(
    `UPDATE keys.ring_key SET activated_at = now() - interval '2 hours'
      WHERE audience = 'd' AND state = 'active'`,
  );
  await maintain(3600);
  expect(await statesOf("d")).toEqual([PENDING, PENDING, ACTIVE, RETIRED]);
  const { rows } = await watcher!.query(
    `SELECT extract(epoch FROM open_until - now()) AS "openS" FROM keys.ring_key
      WHERE audience = 'd' AND state = 'retired'`,
  );
  // A replica that has not received it may seal until its lease expires.
  expect(Number(rows[0].openS)).toBeGreaterThan(60 + 30);
  await watcher!.query(
    "UPDATE keys.ring_key SET open_until = now() WHERE audience = 'd' AND state = 'retired'",
  );
  await maintain(3600);
  expect(await statesOf("d")).toEqual([PENDING, PENDING, ACTIVE]);
});

test("a new key-encryption key rewraps the rings during rotations", async () => {
  const key = randomBytes(32);
  const newKey = randomBytes(32);
  // A replica from before the change: it knows the new key, but wraps with the old one.
  const older = wrapping(key, newKey);
  const before = await ringOf("e", older);
  // Rings of other tests are wrapped with a key that it does not know: they fail.
  const both = wrapping(newKey, key);
  const maintain = () => ringsWith(both).maintain(3600);
  await Promise.all([maintain(), rotate("e", older), maintain(), rotate("e", both)]);
  expect((await maintain()).done).toBe(1);
  expect((await ringOf("e", older)).keys).toHaveLength(5);
  const after = await ringOf("e", wrapping(newKey));
  expect(after.keys).toHaveLength(5);
  for (const { id, key: bytes } of before.keys) {
    expect(after.keys.find((each) => each.id === id)?.key).toEqual(bytes);
  }
  await expect(ringOf("e", wrapping(key))).rejects.toMatchObject({
    reason: "RING_UNREADABLE",
    cause: { message: expect.stringContaining("is wrapped with") },
  });
});

test("keys swapped in the table are refused by name", async () => {
  const wrap = wrapping(randomBytes(32));
  for (const audience of ["s", "t"]) await ringOf(audience, wrap);
  const swapped = `UPDATE keys.ring_key SET wrapped = other.wrapped
     FROM keys.ring_key AS other
    WHERE ring_key.audience IN ('s', 't') AND other.audience IN ('s', 't')
      AND ring_key.state = 'active' AND other.state = 'active' AND ring_key.id <> other.id`;
  await watcher!.query(swapped);
  const unreadable = { reason: "RING_UNREADABLE", details: { alarm: true } };
  await expect(ringOf("s", wrap)).rejects.toMatchObject(unreadable);
  await expect(rotate("t", wrap)).rejects.toMatchObject(unreadable);
  await watcher!.query(swapped);
  for (const audience of ["s", "t"]) expect((await ringOf(audience, wrap)).version).toBe(1);
});

test("an altered key row blocks its ring alone", async () => {
  const [key, newKey] = [randomBytes(32), randomBytes(32)];
  const older = wrapping(key);
  const newer = wrapping(newKey, key);
  const audiences = ["p", "q", "r"];
  for (const audience of audiences) {
    await ringOf(audience, older);
    await rotate(audience, older);
  }
  const ofThese = "audience IN ('p', 'q', 'r')";
  await watcher!.query(
    `UPDATE keys.ring_key SET open_until = now() WHERE ${ofThese} AND state = 'retired'`,
  );
  await watcher!.query(
    `UPDATE keys.ring_key SET activated_at = now() - interval '2 hours'
      WHERE ${ofThese} AND state = 'active'`,
  );
  const { rows } = await watcher!.query<{ id: string }>(
    `UPDATE keys.ring_key SET wrapped = set_byte(wrapped, 20, get_byte(wrapped, 20) # 1)
      WHERE audience = 'q' AND state = 'active' RETURNING id`,
  );
  const { done, failures } = await ringsWith(newer).maintain(3600);
  expect(done).toBe(2);
  const said = failures.map(({ message }) => message).filter((message) => / q$/.test(message));
  expect(said).toEqual([`key ${rows[0]!.id} in the ring of q`, "the ring of q"]);
  // The other rings are swept, rotated and rewrapped, and so are the remaining keys of this one.
  for (const audience of ["p", "r"]) {
    const states = await statesOf(audience, wrapping(newKey));
    expect(states).toEqual([PENDING, PENDING, ACTIVE, RETIRED]);
  }
  const left = await watcher!.query(
    `SELECT id FROM keys.ring_key WHERE ${ofThese} AND wrapping_key_id <> $1`,
    [newer.id],
  );
  expect(left.rows).toEqual(rows);
});
