import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Cluster, type ClusterOptions, startCluster } from "../../deploy/local/cluster.ts";
import { readClusterEnvironment } from "../../deploy/local/environment.ts";
import { ROLES } from "../../services/replica/config.ts";
import { type AnchorPlace, inspectWaybills } from "../../services/replica/inspect.ts";
import { rotateRing } from "../../services/replica/rotate.ts";

/** A real cluster in a folder of its own: Postgres, replicas as processes, Envoy. */
export interface TestCluster extends Cluster {
  /** The front proxy. */
  readonly target: string;
  readonly dataDir: string;
  /** Rotates the ring of an audience. */
  rotate(audience: string, destroyKeyId?: string): ReturnType<typeof rotateRing>;
  /** Holds waybills against the lines of their sessions' advances: JSON a line. */
  inspect(audience: string, waybills: readonly string[], anchor?: AnchorPlace): Promise<string>;
  /** Ends the cluster and removes its folder. */
  remove(): Promise<void>;
}

/** Starts a cluster on a free port. With `dataDir`, on the data of an earlier one. */
export async function startTestCluster(
  options: Partial<ClusterOptions> = {},
): Promise<TestCluster> {
  const dataDir = options.dataDir ?? mkdtempSync(join(tmpdir(), "waybill-test-"));
  // For root: the user that Postgres runs as must be able to pass.
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
    ...cluster,
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
