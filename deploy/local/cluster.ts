import { mkdirSync, readFileSync } from "node:fs";
import type { Server as NetServer } from "node:net";
import { join } from "node:path";
import { CatalogServiceService } from "#proto/waybill/catalog/v1/catalog.ts";
import { loadTls } from "#shared/auth/credentials/tls.ts";
import { createClient } from "#shared/client/client.ts";
import { loadContract } from "#shared/contract/contract.ts";
import { Releasers } from "#shared/runtime/releasers.ts";
import { Failure } from "../../services/replica/failure.ts";
import { ANY_CLUSTER, clusterOf, publicServices } from "../envoy/routes.ts";
import { type Command, isRunning, listenForCommands } from "./control.ts";
import { LOCAL_CHANNEL, writeClusterEnvironment } from "./environment.ts";
import { Endpoints } from "./envoy/endpoints.ts";
import { type Envoy, startEnvoy } from "./envoy/envoy.ts";
import { envoyBinary } from "./envoy/envoyBinary.ts";
import { CONTRACT_IMAGE } from "./paths.ts";
import { CONNECTIONS_A_ROLE, checkReplicas, readBudget } from "./postgres/connections.ts";
import { startPostgres } from "./postgres/postgres.ts";
import { runMigrations } from "./postgres/runMigrations.ts";
import { Children } from "./processes/children.ts";
import { freePort, takePort } from "./processes/ports.ts";
import { Replicas, type RunningReplica } from "./processes/replicas.ts";
import { databaseUrls, makeSecrets, type Secrets } from "./secrets/credentials.ts";

/** What the embedded Postgres takes. */
const MAX_CONNECTIONS = 200;

/** How a local cluster is set up. */
export interface ClusterOptions {
  /** The front proxy's ports on 127.0.0.1, plaintext and TLS; 0 takes a free one. */
  port: number;
  tlsPort: number;
  replicas: number;
  dataDir: string;
  roles: readonly string[];
  /** Without it the replicas stand bare. */
  envoy: boolean;
  /** Replicas speak TLS, as they do where they leave the machine. */
  replicaTls: boolean;
  /** Address of a Postgres to use in place of the embedded one. */
  databaseUrl: string | undefined;
  /** More environment for the replicas. */
  replicaEnv?: Record<string, string>;
  /** A replica or Envoy that does not serve within this time of its start is ended; default: 30 s. */
  startLimitMs?: number;
  /** Hears what is being done. */
  tell(line: string): void;
}

/** What runs where. */
export interface ClusterStatus {
  frontProxy:
    | {
        port: number;
        tlsPort: number;
        /** The certificate of who vouches for the TLS port. */
        caFile: string;
        adminPort: number;
        pid: number;
      }
    | undefined;
  postgres: { port: number; pid: number } | undefined;
  replicas: readonly RunningReplica[];
  dataDir: string;
  /** `iss` of access tokens. */
  issuer: string;
  /** Where the secret of `serviceAccounts/admin` is. */
  adminSecretFile: string;
}

/** The embedded Postgres, to be stopped for a while. */
export interface EmbeddedDatabase {
  stop(): Promise<void>;
  start(): Promise<unknown>;
}

/** A running local cluster. */
export interface Cluster {
  /** Undefined when the cluster uses a database of somebody else's. */
  embeddedDatabase(): EmbeddedDatabase | undefined;
  status(): ClusterStatus;
  /** Address of the database's owner. */
  readonly databaseUrl: string;
  /** Adds or takes away replicas until there are so many; no call fails by it. */
  scale(replicas: number, progress?: (line: string) => void): Promise<ClusterStatus>;
  /** Drains and ends everything. */
  stop(): Promise<void>;
}

/** Starts a cluster. @throws Failure naming what is in the way, after letting go what had started */
export async function startCluster(options: ClusterOptions): Promise<Cluster> {
  const releasers = new Releasers();
  try {
    return await start(options, releasers);
  } catch (error) {
    for (const failure of await releasers.release()) {
      options.tell(`${failure.message}: ${(failure.cause as Error).message}`);
    }
    throw error;
  }
}

async function start(options: ClusterOptions, releasers: Releasers): Promise<Cluster> {
  const { dataDir, tell } = options;
  mkdirSync(dataDir, { recursive: true });
  if (await isRunning(dataDir)) {
    throw new Failure(
      `a cluster runs on ${dataDir} already: stop it, or choose another folder with --data-dir`,
    );
  }
  const port = await takePort("--port", options.port);
  const tlsPort = await takePort("--tls-port", options.tlsPort);
  const binary = options.envoy ? envoyBinary(tell) : undefined;
  const secrets = await makeSecrets(join(dataDir, "secrets"));
  const logs = join(dataDir, "logs");
  mkdirSync(logs, { recursive: true });

  const children = new Children();
  releasers.push("the watchdog", () => children.close());

  let postgres: ClusterStatus["postgres"];
  let database: EmbeddedDatabase | undefined;
  let databaseUrl = options.databaseUrl;
  if (databaseUrl === undefined) {
    tell("starting Postgres");
    const { owner } = secrets.passwords;
    const folder = join(dataDir, "postgres");
    mkdirSync(folder, { recursive: true });
    const databasePort = await freePort();
    const startDatabase = async () => {
      const started = await startPostgres(children, folder, owner, MAX_CONNECTIONS, databasePort);
      postgres = { port: databasePort, pid: started.child.pid };
      database = {
        stop: () => started.child.end(30_000),
        start: startDatabase,
      };
      return started;
    };
    databaseUrl = (await startDatabase()).url;
    releasers.push("Postgres", () => database?.stop());
  }
  tell("migrating");
  await runMigrations(children, databaseUrl, secrets.passwords, tell, secrets.adminSecretFile);

  const { roles } = options;
  const budget = await readBudget(databaseUrl, roles.length);
  checkReplicas(options.replicas, budget);

  const contract = loadContract(CONTRACT_IMAGE);
  const clusters = [...publicServices(contract).map(clusterOf), ANY_CLUSTER];
  const edsFolder = join(dataDir, "front-proxy");
  mkdirSync(edsFolder, { recursive: true });
  const endpoints = new Endpoints(edsFolder, clusters);
  const frontProxy = `127.0.0.1:${port}`;
  const tls = options.replicaTls ? loadTls(secrets.tlsDir) : undefined;
  const env = replicaEnvironment(secrets, databaseUrl);
  if (tls !== undefined) env["WAYBILL_TLS_DIR"] = secrets.tlsDir;
  env["WAYBILL_ORIGINS"] = origins(port, tlsPort).join(",");
  if (options.envoy) {
    env["WAYBILL_FRONT_PROXY_SECRET_FILE"] = secrets.frontProxySecretFile;
    env["WAYBILL_CATALOG_ADDRESS"] = tls === undefined ? frontProxy : `127.0.0.1:${tlsPort}`;
  }

  const served = clusters.filter((name) => name === ANY_CLUSTER || options.roles.includes(name));
  const current = () => replicas.serving.map(({ address }) => ({ address, clusters: served }));
  const writeEndpoints = () => {
    endpoints.write(current());
    const keys = replicas.serving.map(({ address }) => address).join(",");
    writeClusterEnvironment(dataDir, { ...env, WAYBILL_KEYS_ADDRESS: `ipv4:${keys}` });
  };
  const replicas = new Replicas(
    children,
    {
      roles: options.roles,
      logFolder: logs,
      env: { ...env, ...options.replicaEnv },
      tls: tls?.client,
      startLimitMs: options.startLimitMs,
    },
    writeEndpoints,
  );
  releasers.push("the replicas", () => replicas.leave(replicas.wanted)());
  tell(`starting ${options.replicas} replicas`);
  writeEndpoints();
  await replicas.add(options.replicas);

  let envoy: Envoy | undefined;
  const follow = async () => {
    await envoy?.follows(current());
  };
  if (binary !== undefined) {
    tell("starting Envoy");
    const { tlsDir } = secrets;
    const { replicaTls } = options;
    const issuer = origins(port, tlsPort)[0]!;
    const secret = readFileSync(secrets.frontProxySecretFile, "utf8");
    const ports = { port, tlsPort };
    const identity = { issuer, secret, tlsDir, replicaTls };
    const { startLimitMs } = options;
    const settings = { binary, folder: logs, ...ports, ...identity, endpoints, startLimitMs };
    const started = await startEnvoy(children, settings);
    envoy = started;
    releasers.push("Envoy", () => started.child.end(10_000));
    await follow();
    await callThrough(frontProxy);
  }

  let turn: Promise<unknown> = Promise.resolve();
  const cluster: Cluster = {
    databaseUrl,
    embeddedDatabase: () => database,
    status: () => ({
      frontProxy: envoy && {
        port,
        tlsPort,
        caFile: join(secrets.tlsDir, "ca.crt"),
        adminPort: envoy.adminPort,
        pid: envoy.child.pid,
      },
      postgres,
      replicas: replicas.serving,
      dataDir,
      issuer: origins(port, tlsPort)[0]!,
      adminSecretFile: secrets.adminSecretFile,
    }),
    scale(wanted, progress = () => {}) {
      const scaled = turn.then(() => scale(wanted, progress));
      turn = scaled.catch(() => {});
      return scaled;
    },
    stop: async () => {
      await turn;
      const failures = await releasers.release();
      if (failures[0] !== undefined) throw failures[0];
    },
  };

  async function scale(wanted: number, progress: (line: string) => void): Promise<ClusterStatus> {
    checkReplicas(wanted, budget);
    const more = wanted - replicas.wanted;
    if (more > 0) {
      progress(`starting ${more} replicas`);
      await replicas.add(more);
    } else if (more < 0) {
      const end = replicas.leave(-more);
      writeEndpoints();
      progress("waiting for the front proxy to send them no more calls");
      await follow();
      progress(`draining ${-more} replicas`);
      await end();
    }
    await follow();
    return cluster.status();
  }

  const run = async (command: Command, progress: (line: string) => void) =>
    command.command === "scale" ? cluster.scale(command.replicas, progress) : cluster.status();
  const control: NetServer = await listenForCommands(dataDir, run);
  releasers.push("the control socket", () => new Promise((done) => control.close(done)));
  return cluster;
}

/** The addresses that callers know the front proxy by. The first is the issuer of access tokens. */
function origins(port: number, tlsPort: number): string[] {
  return [
    `http://127.0.0.1:${port}`,
    `https://127.0.0.1:${tlsPort}`,
    `http://localhost:${port}`,
    `https://localhost:${tlsPort}`,
  ];
}

function replicaEnvironment(secrets: Secrets, databaseUrl: string): Record<string, string> {
  const env: Record<string, string> = {
    WAYBILL_CREDENTIALS_DIR: secrets.credentialsDir,
    WAYBILL_KEY_ENCRYPTION_KEY_FILE: secrets.keyEncryptionKeyFile,
    WAYBILL_DATABASE_CONNECTIONS: `${CONNECTIONS_A_ROLE}`,
  };
  for (const [role, url] of Object.entries(databaseUrls(databaseUrl, secrets.passwords))) {
    env[`WAYBILL_DATABASE_URL_${role.toUpperCase()}`] = url;
  }
  return env;
}

/** One call the whole way: through the front proxy, a replica and Postgres. */
async function callThrough(target: string): Promise<void> {
  const client = createClient(CatalogServiceService, target, {
    channel: LOCAL_CHANNEL,
  });
  try {
    await client.getProduct({ name: "products/1" }, { timeoutMs: 10_000 });
  } catch (error) {
    throw new Failure(`a call through the front proxy failed: ${(error as Error).message}`);
  } finally {
    client.close();
  }
}
