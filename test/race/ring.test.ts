import { randomBytes } from "node:crypto";
import type { Client } from "pg";
import { afterAll, beforeAll, expect, test } from "vitest";
import { wrapping } from "#shared/credentials/wrapping.ts";
import { createPool, type Pool } from "#shared/pg/pool.ts";
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
  const rotations = Array.from({ length: 3 }, () => rotateRing(pool, wrap, "b", async () => {}));
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
