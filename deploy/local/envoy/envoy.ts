import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { loadContract } from "#shared/contract/contract.ts";
import { Failure } from "../../../services/replica/failure.ts";
import { bootstrap } from "../../envoy/bootstrap.ts";
import { OWN_CLUSTER } from "../../envoy/tokenCheck.ts";
import { programEnvironment } from "../environment.ts";
import { CONTRACT_IMAGE } from "../paths.ts";
import type { Child, Children } from "../processes/children.ts";
import { freePort } from "../processes/ports.ts";
import type { Endpoint, Endpoints } from "./endpoints.ts";

const START_LIMIT_MS = 30_000;
const APPLY_LIMIT_MS = 10_000;

/** A running front proxy. */
export interface Envoy {
  readonly adminPort: number;
  readonly child: Child;
  /** Settles when calls go to exactly these replicas. */
  follows(replicas: readonly Endpoint[]): Promise<void>;
}

/** How the front proxy is set up. */
export interface EnvoyOptions {
  binary: string;
  /** Where its configuration and logs go. */
  folder: string;
  /** Ports of the loopback interface: plaintext and TLS. */
  port: number;
  tlsPort: number;
  /** Holds `ca.crt`, `tls.crt` and `tls.key`. */
  tlsDir: string;
  /** Replicas speak TLS. */
  replicaTls: boolean;
  /** `iss` of access tokens. */
  issuer: string;
  /** Secret that it sends to replicas to identify itself. */
  secret: string;
  endpoints: Endpoints;
  /** An Envoy that does not serve within this time of its start is ended; default: 30 s. */
  startLimitMs?: number | undefined;
}

/** Starts Envoy. */
export async function startEnvoy(children: Children, options: EnvoyOptions): Promise<Envoy> {
  const { binary, folder, port, tlsPort, tlsDir, endpoints } = options;
  const files = {
    ca: join(tlsDir, "ca.crt"),
    chain: join(tlsDir, "tls.crt"),
    key: join(tlsDir, "tls.key"),
  };
  const adminPort = await freePort();
  const configFile = join(folder, "envoy.json");
  const config = bootstrap(loadContract(CONTRACT_IMAGE), {
    listen: { address: "127.0.0.1", port },
    listenTls: { address: "127.0.0.1", port: tlsPort, files },
    replicaTls: options.replicaTls ? files : undefined,
    issuer: options.issuer,
    admin: { address: "127.0.0.1", port: adminPort },
    accessLog: { file: join(folder, "access.log") },
    discovery: (cluster) => ({
      kind: "file",
      file: endpoints.file(cluster),
      folder: endpoints.folder,
    }),
  });
  writeFileSync(configFile, JSON.stringify(config, null, 2));
  const args = ["-c", configFile, "--log-level", "warning", "--disable-hot-restart"];
  args.push("--concurrency", "2", "--file-flush-interval-msec", "500");
  const admin = `http://127.0.0.1:${adminPort}`;
  const { child } = await children.startServing({
    name: "Envoy",
    command: binary,
    args,
    options: { env: programEnvironment({ WAYBILL_FRONT_PROXY_SECRET: options.secret }) },
    logFile: join(folder, "envoy.log"),
    startLimitMs: options.startLimitMs ?? START_LIMIT_MS,
    ready: (_child, over) =>
      untilTrue(over, async () => {
        const response = await fetch(`${admin}/ready`).catch(() => undefined);
        return response?.status === 200;
      }),
  });
  return {
    adminPort,
    child,
    async follows(replicas) {
      const limit = AbortSignal.timeout(APPLY_LIMIT_MS);
      const follows = await untilTrue(limit, async () =>
        (await healthyHosts(admin)).every(({ cluster, hosts }) =>
          sameMembers(
            hosts,
            replicas
              .filter(({ clusters }) => clusters.includes(cluster))
              .map((each) => each.address),
          ),
        ),
      );
      if (!follows) throw new Failure("the front proxy does not follow its replicas");
    },
  };
}

/** For each cluster the replicas that calls are sent to now. */
async function healthyHosts(admin: string): Promise<{ cluster: string; hosts: string[] }[]> {
  const response = await fetch(`${admin}/clusters?format=json`);
  const { cluster_statuses: clusters = [] } = (await response.json()) as ClustersAnswer;
  const ofReplicas = clusters.filter(({ name }) => name !== OWN_CLUSTER);
  return ofReplicas.map(({ name, host_statuses: hosts = [] }) => ({
    cluster: name,
    hosts: hosts
      .filter((host) => host.health_status?.eds_health_status === "HEALTHY")
      .filter((host) => !host.health_status?.failed_active_health_check)
      .map(({ address: { socket_address: at } }) => `${at.address}:${at.port_value}`),
  }));
}

interface ClustersAnswer {
  cluster_statuses?: {
    name: string;
    host_statuses?: {
      address: { socket_address: { address: string; port_value: number } };
      health_status?: { eds_health_status?: string; failed_active_health_check?: boolean };
    }[];
  }[];
}

function sameMembers(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((member) => b.includes(member));
}

/** Repeats a question until the answer is yes, or until `over` is aborted: then it returns false. */
async function untilTrue(over: AbortSignal, ask: () => Promise<boolean>): Promise<boolean> {
  while (!over.aborted) {
    if (await ask()) return true;
    await delay(50);
  }
  return false;
}
