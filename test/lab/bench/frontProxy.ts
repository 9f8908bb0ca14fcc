import { mkdirSync, openSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { loadContract } from "waybill";
import { bootstrap } from "../../../deploy/envoy/bootstrap.ts";
import { ANY_CLUSTER } from "../../../deploy/envoy/routes.ts";
import { Endpoints } from "../../../deploy/local/envoy/endpoints.ts";
import { envoyBinary } from "../../../deploy/local/envoy/envoyBinary.ts";
import type { Children } from "../../../deploy/local/processes/children.ts";
import { freePort } from "../../../deploy/local/processes/ports.ts";
import { PROTOSET } from "./peers/waybillSession.ts";

const START_LIMIT_MS = 30_000;
const CLUSTER = "bench";

/** An Envoy with the cluster's configuration, before peers. */
export interface FrontProxy {
  readonly address: string;
  readonly pid: number;
  /** Routes calls to these replicas. Settles when they receive calls. */
  sendTo(replicas: readonly string[]): Promise<void>;
  /** The same without waiting. */
  announce(replicas: readonly string[]): void;
  /** Calls sent to each replica so far, by address. */
  sent(): Promise<Map<string, number>>;
  end(): Promise<void>;
}

/** @param folder for its files */
export async function startFrontProxy(children: Children, folder: string): Promise<FrontProxy> {
  mkdirSync(folder, { recursive: true });
  const endpoints = new Endpoints(folder, [CLUSTER, ANY_CLUSTER]);
  endpoints.write([]);
  const [port, adminPort] = [await freePort(), await freePort()];
  const configFile = join(folder, "envoy.json");
  writeFileSync(configFile, JSON.stringify(configuration(folder, endpoints, port, adminPort)));
  const log = openSync(join(folder, "envoy.log"), "a", 0o600);
  const args = ["-c", configFile, "--log-level", "warning", "--disable-hot-restart"];
  args.push("--concurrency", "2", "--file-flush-interval-msec", "500");
  const child = await children.start(
    envoyBinary(() => {}),
    args,
    {
      stdio: ["ignore", log, log],
      env: {
        ...process.env,
        WAYBILL_FRONT_PROXY_SECRET: "the-secret-of-the-front-proxy-of-the-bench",
      },
    },
  );
  const admin = `http://127.0.0.1:${adminPort}`;
  await until("Envoy did not start", async () => {
    const response = await fetch(`${admin}/ready`).catch(() => undefined);
    return response?.status === 200;
  });
  const announce = (replicas: readonly string[]) =>
    endpoints.write(replicas.map((address) => ({ address, clusters: [CLUSTER] })));
  return {
    address: `127.0.0.1:${port}`,
    pid: child.pid,
    announce,
    async sendTo(replicas) {
      announce(replicas);
      await until("Envoy does not follow", async () => {
        const hosts = (await hostsOf(admin)).filter(({ isHealthy }) => isHealthy);
        return (
          hosts.length === replicas.length &&
          hosts.every(({ address }) => replicas.includes(address))
        );
      });
    },
    async sent() {
      return new Map((await hostsOf(admin)).map(({ address, calls }) => [address, calls]));
    },
    end: () => child.end(10_000),
  };
}

/** The cluster's configuration without the TLS port and the per-service parts. */
function configuration(folder: string, endpoints: Endpoints, port: number, adminPort: number) {
  const none = { ca: "", chain: "", key: "" };
  const made = bootstrap(loadContract(PROTOSET), {
    listen: { address: "127.0.0.1", port },
    listenTls: { address: "127.0.0.1", port: 0, files: none },
    replicaTls: undefined,
    issuer: `http://127.0.0.1:${port}`,
    admin: { address: "127.0.0.1", port: adminPort },
    accessLog: { file: join(folder, "access.log") },
    discovery: (cluster) => ({ kind: "file", file: endpoints.file(cluster), folder }),
  }) as { static_resources: { listeners: object[]; clusters: { name: string }[] } };
  const { listeners, clusters } = made.static_resources;
  const own = clusters.filter(
    ({ name }, index) => clusters.findIndex((each) => each.name === name) === index,
  );
  return { ...made, static_resources: { listeners: [listeners[0]], clusters: own } };
}

interface ClustersAnswer {
  cluster_statuses?: {
    name: string;
    host_statuses?: {
      address: { socket_address: { address: string; port_value: number } };
      stats?: { name: string; value?: string }[];
      health_status?: { eds_health_status?: string; failed_active_health_check?: boolean };
    }[];
  }[];
}

async function hostsOf(admin: string) {
  const response = await fetch(`${admin}/clusters?format=json`);
  const { cluster_statuses: clusters = [] } = (await response.json()) as ClustersAnswer;
  const hosts = clusters.find(({ name }) => name === CLUSTER)?.host_statuses ?? [];
  return hosts.map(({ address: { socket_address: at }, stats, health_status: health }) => ({
    address: `${at.address}:${at.port_value}`,
    calls: Number(stats?.find(({ name }) => name === "rq_total")?.value ?? 0),
    isHealthy: health?.eds_health_status === "HEALTHY" && !health.failed_active_health_check,
  }));
}

async function until(message: string, done: () => Promise<boolean>): Promise<void> {
  for (const end = Date.now() + START_LIMIT_MS; Date.now() < end; await delay(50)) {
    if (await done()) return;
  }
  throw new Error(message);
}
