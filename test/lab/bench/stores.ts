import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Client } from "pg";
import { migrateAnchors } from "waybill/postgres";
import { withMigrationLock } from "#shared/pg/migrate.ts";
import { startPostgres } from "../../../deploy/local/postgres/postgres.ts";
import { Children } from "../../../deploy/local/processes/children.ts";
import { freePort } from "../../../deploy/local/processes/ports.ts";
import { startTestCluster } from "../../support/cluster.ts";
import type { Bench } from "./bench.ts";
import type { Store } from "./contender.ts";
import { startRedis } from "./redis.ts";

/** Undefined if Redis is unavailable, which the report notes. */
export async function redisStore(bench: Bench): Promise<Store | undefined> {
  bench.step("starting Redis");
  const redis = await bench.own("Redis", startRedis(), (each) => each?.end());
  if (redis === undefined) {
    bench.results.leftOut("Redis", "there is none that runs here, and apt could not fetch one");
    return undefined;
  }
  return {
    address: redis.address,
    settings: (address) => ({ store: `redis://${address}` }),
    processes: { Redis: [redis.pid] },
  };
}

/** A separate Postgres with the tables of anchors and spilled states in the schema `bench`. */
export async function postgresStore(bench: Bench): Promise<Store> {
  bench.step("starting Postgres");
  const folder = mkdtempSync(join(tmpdir(), "waybill-bench-"));
  // If root runs the bench, the user of Postgres needs access to the folder.
  chmodSync(folder, 0o711);
  await bench.own("the folder of Postgres", folder, () => rmSync(folder, { recursive: true }));
  const children = await bench.own("the watchdog", new Children(), (each) => each.close());
  const starting = startPostgres(children, folder, "owner-1", 200, await freePort());
  const postgres = await bench.own("Postgres", starting, ({ child }) => child.end(30_000));
  const client = new Client({ connectionString: postgres.url });
  await client.connect();
  try {
    await client.query("CREATE SCHEMA bench");
    await withMigrationLock(client, () => migrateAnchors(client, "bench"));
  } finally {
    await client.end();
  }
  return {
    address: `127.0.0.1:${postgres.port}`,
    settings: (address) => ({ store: urlAt(postgres.url, address) }),
    processes: { Postgres: [postgres.child.pid] },
  };
}

function urlAt(url: string, address: string): string {
  const moved = new URL(url);
  moved.host = address;
  return moved.href;
}

/** A session service for programs without their own Postgres: one replica and its Postgres. */
export async function sessionServiceStore(bench: Bench): Promise<Store> {
  bench.step("starting a session service");
  const starting = startTestCluster({ replicas: 1, envoy: false });
  const cluster = await bench.own("the cluster", starting, (each) => each.remove());
  const { replicas, postgres } = cluster.status();
  const credentialsDir = join(cluster.dataDir, "secrets", "credentials");
  return {
    address: replicas[0]!.address,
    settings: (address) => ({ sessionService: address, credentialsDir }),
    processes: { "session service": [replicas[0]!.pid], Postgres: [postgres!.pid] },
  };
}
