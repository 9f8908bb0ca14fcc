import { Metadata } from "@grpc/grpc-js";
import type { Client } from "pg";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { createPool, type Pool } from "#shared/pg/pool.ts";
import { readChanges } from "../../services/catalog/sql/readChanges.ts";
import { updateProduct } from "../../services/catalog/sql/updateProduct.ts";
import { connect, untilBlocked } from "../support/gate.ts";
import { migratedPostgres, type TestPostgres } from "../support/postgres.ts";
import {
  type CatalogReplica,
  retitle,
  startCatalogReplica,
  untilHeard,
  VALUES,
  WAIT,
} from "../support/servers/catalogReplica.ts";

let postgres: TestPostgres;
let pool: Pool;
let [gate, watcher]: Client[] = [];
/** Number of the test's own product. */
let id = 0;
const replicas: CatalogReplica[] = [];

beforeAll(async () => {
  postgres = await migratedPostgres();
  pool = createPool(postgres.url, { max: 20, name: "race" });
  [gate, watcher] = await Promise.all([connect(postgres.url), connect(postgres.url)]);
});
beforeEach(() => {
  id += 1;
});
afterEach(async () => {
  for (const replica of replicas.splice(0)) await replica.close();
});
afterAll(async () => {
  await Promise.all([gate?.end(), watcher?.end(), pool?.end()]);
  await postgres?.remove();
});

async function start(hears = true): Promise<CatalogReplica> {
  const replica = await startCatalogReplica(pool, { hears });
  replicas.push(replica);
  return replica;
}
/** Commits a change. @returns its number */
const write = (title: string, product = id) => retitle(pool, product, title);
const read = async ({ client }: CatalogReplica) =>
  (await client.getProduct({ name: `products/${id}` })).title;
const holding = (replica: CatalogReplica, count: number) =>
  expect.poll(() => replica.held.length, WAIT).toBe(count);

test("versioning responses on arrival caches stale ones: the anomaly", async () => {
  const { scope } = await start();
  const released = Promise.withResolvers<void>();
  const ask = (text: string) =>
    scope.get({
      key: "k",
      needs: 0n,
      position: scope.position,
      signal: () => undefined,
      refresh: () => undefined,
      async fetch() {
        await released.promise;
        const response = {
          bytes: Buffer.from(text),
          etag: "",
          cacheControl: "",
          lifetime: { maxAgeMs: 60_000, staleMs: 0 },
          resources: [`products/${id}`],
          // The bug: notes the position after the read instead of before it.
          position: scope.position,
          ageMs: 0,
        };
        return { response, isShared: true };
      },
    });
  const asked = ask("old");
  const number = await write("new");
  await untilHeard(scope, number);
  released.resolve();
  await asked;
  expect((await ask("new")).response.bytes.toString()).toBe("old");
});

test("a read that straddles a change is not cached", async () => {
  const replica = await start();
  await write("old");
  replica.holds = true;
  const before = read(replica);
  await holding(replica, 1);
  const number = await write("new");
  await untilHeard(replica.scope, number);
  // A new call does not join the read that began before the change.
  const after = read(replica);
  await holding(replica, 2);
  replica.held[1]!.resolve();
  expect(await after).toBe("new");
  replica.held[0]!.resolve();
  expect(await before).toBe("old");
  replica.holds = false;
  expect(await read(replica)).toBe("new");
  expect(replica.held).toHaveLength(2);
});

test("a response cached before its change is evicted afterwards", async () => {
  const replica = await start();
  const first = await write("old");
  await untilHeard(replica.scope, first);
  replica.holds = true;
  const before = read(replica);
  await holding(replica, 1);
  // Numbered and not committed: no follower receives it yet.
  await gate!.query("BEGIN");
  const { number } = (await updateProduct(gate as never, BigInt(id), ["title"], {
    ...VALUES,
    title: "new",
  }))!;
  replica.held[0]!.resolve();
  expect(await before).toBe("old");
  replica.holds = false;
  expect(await read(replica)).toBe("old");
  expect((await readChanges(pool, first)).rows).toEqual([]);
  await gate!.query("COMMIT");
  await untilHeard(replica.scope, BigInt(number));
  expect(await read(replica)).toBe("new");
});

test("a lagging replica serves fresh data to informed callers", async () => {
  const [aware, deaf] = [await start(), await start(false)];
  const first = await write("old");
  expect([await read(aware), await read(deaf)]).toEqual(["old", "old"]);
  const number = await write("new");
  expect(number).toBe(first + 1n);
  // The replica that has missed the change serves its stale response.
  expect(await read(deaf)).toBe("old");
  const metadata = new Metadata();
  metadata.set("change", `${number}`);
  const { title } = await deaf.client.getProduct({ name: `products/${id}` }, { metadata });
  expect(title).toBe("new");
});

test("concurrent changes take consecutive numbers", async () => {
  await gate!.query("BEGIN; SELECT FROM catalog.feed FOR UPDATE");
  const products = [id, id, id, id + 1000, id + 1000, id + 1001];
  const written = products.map((product, at) => write(`title ${at}`, product));
  // Changes of one product queue behind each other; the first of each product waits for the feed.
  await untilBlocked(watcher!, products.length);
  await gate!.query("COMMIT");
  const numbers = (await Promise.all(written)).toSorted((a, b) => Number(a - b));
  expect(numbers).toEqual(numbers.map((_, at) => numbers[0]! + BigInt(at)));
  const { rows, number, gap } = await readChanges(pool, numbers[0]! - 1n);
  expect({ number, gap }).toEqual({ number: numbers.at(-1), gap: false });
  expect(rows.map((row) => Number(row.productId)).toSorted()).toEqual(products.toSorted());
  // The last write wins.
  const { rows: titles } = await pool.query<{ title: string }>(
    "SELECT title FROM catalog.product WHERE id = $1",
    [id],
  );
  const last = rows.findLast((row) => row.productId === BigInt(id))!;
  expect(titles[0]!.title).toBe(`title ${(await Promise.all(written)).indexOf(last.number)}`);
});

test("a change that is rolled back takes no number", async () => {
  const before = await write("one");
  expect(await updateProduct(pool, 999_999n, ["title"], { ...VALUES, title: "x" })).toBeUndefined();
  expect(await write("two")).toBe(before + 1n);
});

test("a follower too far behind receives a gap", async () => {
  const number = await write("first");
  await pool.query(
    `WITH head AS (UPDATE catalog.feed SET number = number + 9999 RETURNING number)
     INSERT INTO catalog.change (number, product_id)
     SELECT $1::bigint + nth, 7 FROM generate_series(1, 9999) AS nth`,
    [number],
  );
  const last = await write("last");
  expect(last).toBe(number + 10_000n);
  const { rowCount } = await pool.query("SELECT FROM catalog.change");
  expect(rowCount).toBe(10_000);
  // The oldest change that is still stored follows `number`.
  const next = await readChanges(pool, number);
  expect({ gap: next.gap, first: next.rows[0]!.number, count: next.rows.length }).toEqual({
    gap: false,
    first: number + 1n,
    count: 1000,
  });
  expect(next.number).toBe(number + 1000n);
  expect(await readChanges(pool, number - 1n)).toEqual({ number: last, gap: true, rows: [] });
});

test("a follower cut off beyond retention empties its cache", async () => {
  const replica = await start();
  await write("old");
  await expect.poll(() => read(replica), WAIT).toBe("old");
  const { position } = replica.scope;
  // As after an outage: the replica drops everything that changed meanwhile.
  await pool.query("UPDATE catalog.product SET title = 'new' WHERE id = $1", [id]);
  await pool.query("DELETE FROM catalog.change");
  await pool.query("UPDATE catalog.feed SET number = number + 5");
  await untilHeard(replica.scope, position + 5n);
  expect(await read(replica)).toBe("new");
});
