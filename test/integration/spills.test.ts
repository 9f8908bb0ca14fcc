import { randomBytes } from "node:crypto";
import { afterAll, beforeAll, expect, test } from "vitest";
import { MAX_STATE, Spills } from "#shared/anchors/spills.ts";
import { createPool, type Pool } from "#shared/pg/pool.ts";
import { newUuid } from "#shared/runtime/ids.ts";
import { migratedPostgres, type TestPostgres } from "../support/postgres.ts";

let postgres: TestPostgres;
let pool: Pool;
let statements = 0;
beforeAll(async () => {
  postgres = await migratedPostgres();
  pool = createPool(postgres.url, { max: 5, name: "spills" });
  const query = pool.query.bind(pool) as (...args: unknown[]) => unknown;
  Object.assign(pool, {
    query: (...args: unknown[]) => {
      statements += 1;
      return query(...args);
    },
  });
});
afterAll(async () => {
  await pool?.end();
  await postgres?.remove();
});

const make = (options = {}) => new Spills(pool, "session", options);
const count = async (sessionId: string) =>
  Number(
    (await pool.query("SELECT count(*) FROM session.spill WHERE session_id = $1", [sessionId]))
      .rows[0].count,
  );

test.each([0, 1, 5000, MAX_STATE])("a state of %d bytes is stored and loaded", async (size) => {
  const id = newUuid();
  const state = randomBytes(size);
  const spill = await make().store(id, state, undefined);
  expect(await make().load(id, spill)).toEqual(state);
});

test("a state beyond the limit writes nothing", async () => {
  const id = newUuid();
  const kept = make().store(id, Buffer.alloc(MAX_STATE + 1), undefined);
  await expect(kept).rejects.toMatchObject({
    reason: "STATE_TOO_LARGE",
    details: { metadata: { limit: "1048576", size: "1048577" } },
  });
  expect(await count(id)).toBe(0);
});

test("equal states share a row only within one session", async () => {
  const [mine, other] = [newUuid(), newUuid()];
  const state = randomBytes(5000);
  const first = await make().store(mine, state, undefined);
  expect(await make().store(mine, state, first)).toBe(first);
  const changed = await make().store(mine, randomBytes(5000), first);
  expect(changed.key).toEqual(first.key);
  // The earlier state with the same key reuses its row.
  expect((await make().store(mine, state, changed)).address).toEqual(first.address);
  expect(await count(mine)).toBe(2);
  const theirs = await make().store(other, state, undefined);
  expect(theirs.address).not.toEqual(first.address);
  expect(await make().load(other, first)).toBeUndefined();
  const { rows } = await pool.query("SELECT content FROM session.spill WHERE session_id = $1", [
    mine,
  ]);
  for (const { content } of rows) expect(content.includes(state.subarray(0, 32))).toBe(false);
});

test("a session stores no more than its quota", async () => {
  const id = newUuid();
  const spills = make({ quota: 12_000 });
  const first = await spills.store(id, randomBytes(5000), undefined);
  const second = await spills.store(id, randomBytes(5000), first);
  const third = spills.store(id, randomBytes(5000), second);
  await expect(third).rejects.toMatchObject({ reason: "SPILL_QUOTA_EXCEEDED" });
  expect(await count(id)).toBe(2);
  expect(await make().load(id, first)).toHaveLength(5000);
  await spills.store(newUuid(), randomBytes(5000), undefined);
});

test("an altered, cut or swapped row does not load", async () => {
  const id = newUuid();
  const [first, second] = [
    await make().store(id, randomBytes(5000), undefined),
    await make().store(id, randomBytes(5000), undefined),
  ];
  const set = (content: string) =>
    pool.query(
      `UPDATE session.spill SET content = ${content} WHERE session_id = $1 AND address = $2`,
      [id, first.address],
    );
  for (const content of [
    "set_byte(content, 2000, get_byte(content, 2000) # 1)",
    "substr(content, 1, 100)",
    "''",
    `(SELECT content FROM session.spill AS other
       WHERE session_id = '${id}' AND other.address <> spill.address)`,
  ]) {
    expect(await make().load(id, first)).not.toBeNull();
    await set(content);
    expect(await make().load(id, first)).toBeUndefined();
  }
  expect(await make().load(id, second)).toHaveLength(5000);
});

test("concurrent loads share one query and its cache", async () => {
  const id = newUuid();
  const spill = await make().store(id, randomBytes(5000), undefined);
  const spills = make();
  statements = 0;
  const loaded = await Promise.all(Array.from({ length: 100 }, () => spills.load(id, spill)));
  expect(statements).toBe(1);
  expect(new Set(loaded.map((state) => state!.toString("base64"))).size).toBe(1);
  await spills.load(id, spill);
  expect(statements).toBe(1);
  // The address alone, without the key, reads nothing from a cache that others have filled.
  expect(await spills.load(id, { ...spill, key: randomBytes(32) })).toBeUndefined();
});

test("the cache evicts the least recently used state", async () => {
  const id = newUuid();
  const spills = make({ cache: 12_000 });
  const first = await spills.store(id, randomBytes(5000), undefined);
  const second = await spills.store(id, randomBytes(5000), undefined);
  await spills.load(id, first);
  const third = await spills.store(id, randomBytes(5000), undefined);
  statements = 0;
  await spills.load(id, first);
  await spills.load(id, third);
  expect(statements).toBe(0);
  await spills.load(id, second);
  expect(statements).toBe(1);
});
