import { randomBytes } from "node:crypto";
import type { Client } from "pg";
import { afterAll, beforeAll, expect, test } from "vitest";
import { AuditLog } from "#shared/audit/auditLog.ts";
import { wrapping } from "#shared/credentials/wrapping.ts";
import { createPool, type Pool } from "#shared/pg/pool.ts";
import { maintainRings } from "../../services/keys/maintainRings.ts";
import { getOrMakeRing, rotateRing } from "../../services/keys/rings.ts";
import { connect, untilBlocked } from "../fixtures/gate.ts";
import { migratedPostgres, type TestPostgres } from "../fixtures/postgres.ts";

const wrap = wrapping(randomBytes(32));

let postgres: TestPostgres;
let pool: Pool;
let [gate, watcher]: Client[] = [];
beforeAll(async () => {
  postgres = await migratedPostgres();
  pool = createPool(postgres.url, { max: 10, name: "race" });
  [gate, watcher] = await Promise.all([connect(postgres.url), connect(postgres.url)]);
});
afterAll(async () => {
  await Promise.all([gate?.end(), watcher?.end(), pool?.end()]);
  await postgres?.remove();
});

test("the anomaly: who looks for a ring and then makes it makes two, with different keys", async () => {
  await gate!.query("CREATE TEMP TABLE unguarded (audience text, key bytea)");
  const look = async () => (await gate!.query("SELECT key FROM unguarded")).rows;
  const make = () => gate!.query("INSERT INTO unguarded VALUES ('a', $1)", [randomBytes(32)]);
  // Both have looked before either makes it.
  const [seenByA, seenByB] = [await look(), await look()];
  if (seenByA.length === 0) await make();
  if (seenByB.length === 0) await make();
  const [first, second] = await look();
  expect(first.key).not.toEqual(second.key);
});

test("replicas that all ask for a ring that is not there get the same one", async () => {
  // While the gate holds the table, all come to the insert having seen no ring.
  await gate!.query("BEGIN; LOCK TABLE keys.ring IN SHARE MODE");
  const asked = Array.from({ length: 5 }, () => getOrMakeRing(pool, wrap, "a", async () => {}));
  await untilBlocked(watcher!, 5);
  await gate!.query("COMMIT");
  const rings = await Promise.all(asked);
  expect(new Set(rings.map(({ keys }) => keys.map(({ id }) => id).join())).size).toBe(1);
  expect(rings[0]!.keys.map(({ state }) => state).sort()).toEqual([1, 2]);
});

test("rotations at once come one after another, and each promotes the key that stood by", async () => {
  const before = await getOrMakeRing(pool, wrap, "b", async () => {});
  await gate!.query("BEGIN; SELECT FROM keys.ring WHERE audience = 'b' FOR UPDATE");
  const rotations = Array.from({ length: 3 }, () =>
    rotateRing({ db: pool, wrapping: wrap, keepS: 60 }, "b", async () => {}),
  );
  await untilBlocked(watcher!, 3);
  await gate!.query("COMMIT");
  const rotated = await Promise.all(rotations);
  expect(rotated.map((each) => each?.version).sort()).toEqual([2, 3, 4]);
  expect(new Set(rotated.map((each) => each?.activeKeyId)).size).toBe(3);
  const after = await getOrMakeRing(pool, wrap, "b", async () => {});
  // Nothing that was ever sealed under is lost.
  for (const { id } of before.keys) expect(after.keys.map((key) => key.id)).toContain(id);
  expect(after.keys).toHaveLength(5);
});

const ringOf = (audience: string, by = wrap) => getOrMakeRing(pool, by, audience, async () => {});
const statesOf = async (audience: string, by = wrap) =>
  (await ringOf(audience, by)).keys.map(({ state }) => state).sort();
const [PENDING, ACTIVE, RETIRED, DESTROYED] = [1, 2, 3, 4];
const rotate = (audience: string, options = {}, by = wrap) =>
  rotateRing({ db: pool, wrapping: by, keepS: 60 }, audience, async () => {}, options);

test("a key that has leaked is destroyed: the one that stands by takes over for the sealer alone", async () => {
  const { keys } = await ringOf("c");
  const active = keys.find(({ state }) => state === ACTIVE)!;
  const pending = keys.find(({ state }) => state === PENDING)!;
  expect((await rotate("c", { destroyKeyId: active.id }))?.activeKeyId).toBe(pending.id);
  expect(await statesOf("c")).toEqual([PENDING, ACTIVE, DESTROYED]);
  const { rows } = await watcher!.query("SELECT wrapped FROM keys.ring_key WHERE id = $1", [
    active.id,
  ]);
  expect(rows).toEqual([{ wrapped: Buffer.alloc(0) }]);
  // One that stands by is replaced, one that was retired is gone; the sealer stays.
  const spare = (await ringOf("c")).keys.find(({ state }) => state === PENDING)!;
  expect((await rotate("c", { destroyKeyId: spare.id }))?.activeKeyId).toBe(pending.id);
  expect(await statesOf("c")).toEqual([PENDING, ACTIVE, DESTROYED, DESTROYED]);
  await rotate("c");
  const next = (await ringOf("c")).keys.find(({ state }) => state === ACTIVE)!;
  expect((await rotate("c", { destroyKeyId: pending.id }))?.activeKeyId).toBe(next.id);
  expect(await statesOf("c")).toEqual([PENDING, ACTIVE, DESTROYED, DESTROYED, DESTROYED]);
  expect(await rotate("c", { destroyKeyId: "AAAAAAAAAAA" })).toBeUndefined();
});

test("by schedule a ring is rotated once, however many replicas see to it; and old keys go", async () => {
  await ringOf("d");
  const audit = new AuditLog(pool, "keys");
  const versions = { tell() {} } as never;
  const parts = { db: pool, wrapping: wrap, keepS: 60, versions, audit };
  const maintain = (rotateS: number) =>
    Promise.all(Array.from({ length: 4 }, () => maintainRings(parts, rotateS)));
  await maintain(3600);
  expect(await statesOf("d")).toEqual([PENDING, ACTIVE]);
  await watcher!.query(
    `UPDATE keys.ring_key SET activated_at = now() - interval '2 hours'
      WHERE audience = 'd' AND state = 'active'`,
  );
  await maintain(3600);
  expect(await statesOf("d")).toEqual([PENDING, ACTIVE, RETIRED]);
  await watcher!.query(
    "UPDATE keys.ring_key SET open_until = now() WHERE audience = 'd' AND state = 'retired'",
  );
  await maintain(3600);
  expect(await statesOf("d")).toEqual([PENDING, ACTIVE]);
});

test("another key-encryption key takes the rings over while both are known, also beside rotations", async () => {
  const key = randomBytes(32);
  const newKey = randomBytes(32);
  // A replica of the step before: it knows the new one, and wraps with the old one.
  const older = wrapping(key, newKey);
  const before = await ringOf("e", older);
  const both = wrapping(newKey, key);
  const parts = { db: pool, wrapping: both, keepS: 60, versions: { tell() {} } as never };
  // The rings of the other tests are wrapped with a key that is not known here.
  await watcher!.query("DELETE FROM keys.ring_key WHERE audience <> 'e'");
  const maintain = () => maintainRings({ ...parts, audit: new AuditLog(pool, "keys") }, 3600);
  await Promise.all([maintain(), rotate("e", {}, older), maintain(), rotate("e", {}, both)]);
  await maintain();
  expect((await ringOf("e", older)).keys).toHaveLength(4);
  const after = await ringOf("e", wrapping(newKey));
  expect(after.keys).toHaveLength(4);
  for (const { id, key: bytes } of before.keys) {
    expect(after.keys.find((each) => each.id === id)?.key).toEqual(bytes);
  }
  await expect(ringOf("e", wrapping(key))).rejects.toThrow("is wrapped with");
});
