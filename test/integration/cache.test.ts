import { afterAll, beforeAll, expect, test } from "vitest";
import { CatalogServiceService } from "#proto/waybill/catalog/v1/catalog.ts";
import { Assertions } from "#shared/auth/assertions.ts";
import { serviceAuthentication } from "#shared/auth/credentials/assertion.ts";
import { followChanges } from "#shared/cache/followChanges.ts";
import { ResponseCache } from "#shared/cache/responseCache.ts";
import { createClient, type ServiceClient, scopeName } from "#shared/client/client.ts";
import { createPool, type Pool } from "#shared/pg/pool.ts";
import { makeCredentials } from "../support/callers/credentials.ts";
import { contract } from "../support/clients.ts";
import { migratedPostgres, type TestPostgres } from "../support/postgres.ts";
import { refusal } from "../support/refusal.ts";
import {
  CATALOG,
  type CatalogReplica,
  retitle,
  startCatalogReplica,
  untilHeard,
  WAIT,
} from "../support/servers/catalogReplica.ts";
import { type Cuttable, startCuttable } from "../support/wire/cuttable.ts";

const NAME = "products/1";

let postgres: TestPostgres;
let pool: Pool;
let replica: CatalogReplica;
/** The client's connection to the feed of changes. */
let way: Cuttable;
let feed: ServiceClient<typeof CatalogServiceService>;
let client: ServiceClient<typeof CatalogServiceService>;
let stop: () => void;
const cache = new ResponseCache({ maxBytes: 1_000_000 });

beforeAll(async () => {
  postgres = await migratedPostgres();
  pool = createPool(postgres.url, { max: 10, name: "cache" });
  const credentials = await makeCredentials();
  replica = await startCatalogReplica(pool, { authenticate: serviceAuthentication(credentials) });
  way = await startCuttable(replica.address);
  client = createClient(CatalogServiceService, replica.address, { contract, cache });
  feed = createClient(CatalogServiceService, way.target, { contract });
  const assertions = new Assertions(credentials, "checkout");
  stop = followChanges(
    cache.scope(scopeName(replica.address, CATALOG)),
    async function* (afterNumber, signal) {
      const metadata = await assertions.to(CatalogServiceService.watchChanges);
      yield* feed.watchChanges({ afterNumber }, { metadata, signal });
    },
  );
});
afterAll(async () => {
  stop?.();
  client?.close();
  feed?.close();
  await way?.close();
  await replica?.close();
  await pool?.end();
  await postgres?.remove();
});

const scope = () => cache.scope(scopeName(replica.address, CATALOG));
const title = async () => (await client.getProduct({ name: NAME })).title;

test("a client without the feed serves cached responses", async () => {
  await untilHeard(scope(), 1n);
  const first = await retitle(pool, 1, "one");
  await untilHeard(scope(), first);
  expect(await title()).toBe("one");
  await expect.poll(async () => (await title()) && cache.stats.hits, WAIT).toBeGreaterThan(0);

  way.cut();
  const second = await retitle(pool, 1, "two");
  await untilHeard(replica.scope, second);
  const { misses } = cache.stats;
  expect(await title()).toBe("one");
  expect(cache.stats.misses).toBe(misses);
  // Every response reports the newest change: here, a response for another product.
  await client.getProduct({ name: "products/2" });
  expect(await title()).toBe("two");

  const third = await retitle(pool, 1, "three");
  await untilHeard(replica.scope, third);
  expect(await title()).toBe("two");
  way.mend();
  await untilHeard(scope(), third);
  expect(await title()).toBe("three");
});

test("an unchanged response is not requested again", async () => {
  await untilHeard(scope(), await retitle(pool, 1, "four"));
  await title();
  const { misses } = cache.stats;
  for (let change = 0; change < 20; change += 1) {
    await untilHeard(scope(), await retitle(pool, 3, `other ${change}`));
    expect(await title()).toBe("four");
  }
  expect(cache.stats.misses).toBe(misses);
});

test("without Postgres only cached responses are served", async () => {
  const url = new URL(postgres.url);
  const toPostgres = await startCuttable(url.host);
  url.host = toPostgres.target;
  const own = createPool(`${url}`, { max: 5, name: "cache-own" });
  const alone = await startCatalogReplica(own);
  const kept = await alone.client.getProduct({ name: NAME });
  toPostgres.cut();
  expect(await alone.client.getProduct({ name: NAME })).toEqual(kept);
  const other = await refusal(alone.client.getProduct({ name: "products/9" }));
  expect(other.reason).toBe("DATABASE_UNAVAILABLE");
  // The client makes five attempts, and each one reads the cache.
  expect(alone.cache.stats).toMatchObject({ hits: 1, misses: 1 + 5 });
  await alone.close();
  await own.end();
  await toPostgres.close();
});
