import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { Metadata } from "@grpc/grpc-js";
import { Client } from "pg";
import { changeIn } from "#shared/cache/changeNumbers.ts";
import { CHANGE_CHANNEL } from "../../../../services/catalog/sql/updateProduct.ts";
import { startTestCluster, type TestCluster } from "../../../support/cluster.ts";
import type { Bench } from "../bench.ts";
import type { Processes } from "../contender.ts";
import { type CatalogClient, plainClient } from "./clients.ts";

/** More than the feed retains: a follower that misses so many changes empties its cache. */
const MISSED_CHANGES = 20_000;

/** One replica of the catalog, and its Postgres. */
export interface RunningCatalog {
  readonly cluster: TestCluster;
  readonly address: string;
  readonly credentialsDir: string;
  readonly processes: Processes;
  /** Empties every cache. */
  forget(): Promise<void>;
}

export async function startCatalog(bench: Bench, hasCache: boolean): Promise<RunningCatalog> {
  bench.step(`starting a catalog ${hasCache ? "with" : "without"} a cache`);
  const starting = startTestCluster({
    ...{ replicas: 1, envoy: false, roles: ["keys", "identity", "token", "catalog"] },
    replicaEnv: hasCache ? {} : { WAYBILL_CACHE_BYTES: "0" },
  });
  const cluster = await bench.own("the cluster", starting, (each) => each.remove());
  const { replicas, postgres } = cluster.status();
  const { address, pid } = replicas[0]!;
  const client = await bench.own("the client", plainClient(address), (each) => each.close());
  const db = new Client({ connectionString: cluster.databaseUrl });
  // An interrupted bench stops Postgres before its pool.
  db.on("error", () => {});
  await db.connect();
  await bench.own("the connection", db, (each) => each.end());
  return {
    cluster,
    address,
    credentialsDir: join(cluster.dataDir, "secrets", "credentials"),
    processes: { service: [pid], Postgres: [postgres!.pid] },
    async forget() {
      const { rows } = await db.query<{ number: string }>(
        `UPDATE catalog.feed SET number = number + ${MISSED_CHANGES} RETURNING number::text`,
      );
      await db.query(`NOTIFY ${CHANGE_CHANNEL}`);
      if (hasCache) await untilHeard(client, BigInt(rows[0]!.number));
    },
  };
}

/** Waits until a replica's cache has applied every change up to a number. */
export async function untilHeard(client: CatalogClient, number: bigint): Promise<void> {
  let heard = 0n;
  const onMetadata = (reply: Metadata) => {
    heard = changeIn(reply);
  };
  for (;;) {
    await client.read("getProduct", { name: "products/1" }, { onMetadata });
    if (heard >= number) return;
    await delay(5);
  }
}
