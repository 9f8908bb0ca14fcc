import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Cluster, type ClusterOptions, startCluster } from "../../deploy/local/cluster.ts";
import { readClusterEnvironment } from "../../deploy/local/environment.ts";
import { ROLES } from "../../services/replica/config/config.ts";
import { type AnchorPlace, inspectWaybills } from "../../services/replica/inspect.ts";
import { rotateRing } from "../../services/replica/rotate.ts";

/** A real cluster in its own folder: Postgres, replicas as processes, Envoy. */
export interface TestCluster extends Cluster {
  readonly target: string;
  readonly dataDir: string;
  rotate(audience: string, destroyKeyId?: string): ReturnType<typeof rotateRing>;
  /** Compares waybills with the chains of their sessions ("inspect"). Returns one JSON line per waybill. */
  inspect(audience: string, waybills: readonly string[], anchor?: AnchorPlace): Promise<string>;
  remove(): Promise<void>;
}

/** Starts a cluster on a free port. `dataDir` reuses the data of an earlier cluster. */
export async function startTestCluster(
  options: Partial<ClusterOptions> = {},
): Promise<TestCluster> {
  const dataDir = options.dataDir ?? mkdtempSync(join(tmpdir(), "waybill-test-"));
  // If root runs the test, the user of Postgres needs access to the folder.
  chmodSync(dataDir, 0o711);
  const cluster = await startCluster({
    port: 0,
    tlsPort: 0,
    replicaTls: false,
    replicas: 2,
    dataDir,
    roles: ROLES,
    envoy: true,
    databaseUrl: undefined,
    tell: () => {},
    ...options,
  });
  return {
    databaseUrl: cluster.databaseUrl,
    embeddedDatabase: () => cluster.embeddedDatabase(),
    status: () => cluster.status(),
    scale: (replicas, progress) => cluster.scale(replicas, progress),
    stop: () => cluster.stop(),
    dataDir,
    target: `127.0.0.1:${cluster.status().frontProxy?.port}`,
    rotate: (audience, destroyKeyId = "") =>
      rotateRing(readClusterEnvironment(dataDir), audience, destroyKeyId, () => {}),
    async inspect(audience, waybills, anchor = "own") {
      const lines: string[] = [];
      const env = readClusterEnvironment(dataDir);
      await inspectWaybills(env, audience, anchor, waybills, (line) => lines.push(line));
      return lines.join("");
    },
    async remove() {
      await cluster.stop();
      rmSync(dataDir, { recursive: true });
    },
  };
}
