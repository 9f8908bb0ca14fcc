import { mkdirSync, readFileSync } from "node:fs";
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
import { type Endpoint, Endpoints } from "./envoy/endpoints.ts";
import { type Envoy, startEnvoy } from "./envoy/envoy.ts";
import { envoyBinary } from "./envoy/envoyBinary.ts";
import { CONTRACT_IMAGE } from "./paths.ts";
import {
  type Budget,
  CONNECTIONS_A_ROLE,
  checkReplicas,
  readBudget,
} from "./postgres/connections.ts";
import { EmbeddedDatabase } from "./postgres/postgres.ts";
import { runMigrations } from "./postgres/runMigrations.ts";
import { Children } from "./processes/children.ts";
import { freePort, takePort } from "./processes/ports.ts";
import { Replicas, type RunningReplica } from "./processes/replicas.ts";
import { databaseUrls, makeSecrets, type Secrets } from "./secrets/credentials.ts";

/** max_connections of the embedded Postgres. */
const MAX_CONNECTIONS = 200;
const ENVOY_END_MS = 10_000;

/** How a local cluster is set up. */
export interface ClusterOptions {
  /** The front proxy's ports on 127.0.0.1, plaintext and TLS; 0 takes a free one. */
  port: number;
  tlsPort: number;
  replicas: number;
  dataDir: string;
  roles: readonly string[];
  /** False: no front proxy. */
  envoy: boolean;
  /** Replicas speak mutual TLS, as they do across machines. */
  replicaTls: boolean;
  /** Address of a Postgres to use in place of the embedded one. */
  databaseUrl: string | undefined;
  /** More environment for the replicas. */
  replicaEnv?: Record<string, string>;
  /** A replica or Envoy that does not serve within this time of its start is ended; default: 30 s. */
  startLimitMs?: number;
  /** Reports progress. */
  tell(line: string): void;
}

/** Addresses and processes of a cluster. */
export interface ClusterStatus {
  frontProxy:
    | {
        port: number;
        tlsPort: number;
        /** The certificate of the authority that issued the TLS port's certificate. */
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
  /** File with the secret of `serviceAccounts/admin`. */
  adminSecretFile: string;
}

/** A running local cluster. */
export interface Cluster {
  /** The embedded Postgres, which tests stop for a while; undefined with a database of the caller's. */
  embeddedDatabase(): EmbeddedDatabase | undefined;
  status(): ClusterStatus;
  /** Address of the database's owner. */
  readonly databaseUrl: string;
  /** Adds or drains replicas until there are so many. No call fails. */
  scale(replicas: number, progress?: (line: string) => void): Promise<ClusterStatus>;
  /** Drains and ends every process. */
  stop(): Promise<void>;
}

/** Resources that every process of the cluster is started with. */
interface Site {
  readonly options: ClusterOptions;
  readonly releasers: Releasers;
  readonly children: Children;
  readonly secrets: Secrets;
  readonly logs: string;
  readonly port: number;
  readonly tlsPort: number;
  /** Path of Envoy; undefined: no front proxy. */
  readonly envoyPath: string | undefined;
}

/** The cluster's Postgres: the caller's, or the embedded one. */
interface Database {
  readonly url: string;
  readonly embedded: EmbeddedDatabase | undefined;
}

/** The cluster's replicas, and the files through which Envoy and other programs find them. */
interface PublishedReplicas {
  readonly replicas: Replicas;
  readonly endpoints: Endpoints;
  /** The replicas that serve now. */
  current(): Endpoint[];
  /** Writes the files. */
  publish(): void;
}

/** Starts a cluster. @throws Failure naming the problem, after ending every process that had started */
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
  const { tell } = options;
  const site = await prepare(options, releasers);
  const { secrets } = site;
  const database = await openDatabase(site);
  tell("migrating");
  await runMigrations(
    site.children,
    database.url,
    secrets.passwords,
    tell,
    secrets.adminSecretFile,
  );
  const budget = await readBudget(database.url, options.roles.length);
  checkReplicas(options.replicas, budget);

  const published = publishedReplicas(site, database.url);
  const { replicas } = published;
  releasers.push("the replicas", () => replicas.leave(replicas.wanted)());
  tell(`starting ${options.replicas} replicas`);
  published.publish();
  await replicas.add(options.replicas);
  const envoy = await startFrontProxy(site, published);

  const cluster = new LocalCluster({ site, database, budget, published, envoy });
  const run = async (command: Command, progress: (line: string) => void) =>
    command.command === "scale" ? cluster.scale(command.replicas, progress) : cluster.status();
  const control = await listenForCommands(options.dataDir, run);
  releasers.push("the control socket", () => new Promise((done) => control.close(done)));
  return cluster;
}

/** Takes the data directory and the ports, and creates the secrets. */
async function prepare(options: ClusterOptions, releasers: Releasers): Promise<Site> {
  const { dataDir, tell } = options;
  mkdirSync(dataDir, { recursive: true });
  if (await isRunning(dataDir)) {
    throw new Failure(
      `a cluster runs on ${dataDir} already: stop it, or choose another folder with --data-dir`,
    );
  }
  const port = await takePort("--port", options.port);
  const tlsPort = await takePort("--tls-port", options.tlsPort);
  const envoyPath = options.envoy ? envoyBinary(tell) : undefined;
  const secrets = await makeSecrets(join(dataDir, "secrets"));
  const logs = join(dataDir, "logs");
  mkdirSync(logs, { recursive: true });
  const children = new Children();
  releasers.push("the watchdog", () => children.close());
  return { options, releasers, children, secrets, logs, port, tlsPort, envoyPath };
}

async function openDatabase({ options, releasers, children, secrets }: Site): Promise<Database> {
  const { databaseUrl, dataDir, tell } = options;
  if (databaseUrl !== undefined) return { url: databaseUrl, embedded: undefined };
  tell("starting Postgres");
  const folder = join(dataDir, "postgres");
  mkdirSync(folder, { recursive: true });
  const ownerPassword = secrets.passwords.owner;
  const port = await freePort();
  const settings = { folder, ownerPassword, maxConnections: MAX_CONNECTIONS, port };
  const embedded = new EmbeddedDatabase(children, settings);
  const { url } = await embedded.start();
  releasers.push("Postgres", () => embedded.stop());
  return { url, embedded };
}

function publishedReplicas(site: Site, databaseUrl: string): PublishedReplicas {
  const { options, children, secrets } = site;
  const { dataDir, roles } = options;
  const clusters = [...publicServices(loadContract(CONTRACT_IMAGE)).map(clusterOf), ANY_CLUSTER];
  const served = clusters.filter((name) => name === ANY_CLUSTER || roles.includes(name));
  const edsFolder = join(dataDir, "front-proxy");
  mkdirSync(edsFolder, { recursive: true });
  const endpoints = new Endpoints(edsFolder, clusters);
  const env = replicaEnvironment(site, databaseUrl);
  const current = () => replicas.serving.map(({ address }) => ({ address, clusters: served }));
  const publish = () => {
    endpoints.write(current());
    const keys = replicas.serving.map(({ address }) => address).join(",");
    writeClusterEnvironment(dataDir, { ...env, WAYBILL_KEYS_ADDRESS: `ipv4:${keys}` });
  };
  const settings = {
    roles,
    logFolder: site.logs,
    env: { ...env, ...options.replicaEnv },
    tls: options.replicaTls ? loadTls(secrets.tlsDir).client : undefined,
    startLimitMs: options.startLimitMs,
  };
  const replicas = new Replicas(children, settings, publish);
  return { replicas, endpoints, current, publish };
}

function replicaEnvironment(site: Site, databaseUrl: string): Record<string, string> {
  const { options, secrets, port, tlsPort } = site;
  const env: Record<string, string> = {
    WAYBILL_CREDENTIALS_DIR: secrets.credentialsDir,
    WAYBILL_KEY_ENCRYPTION_KEY_FILE: secrets.keyEncryptionKeyFile,
    WAYBILL_DATABASE_CONNECTIONS: `${CONNECTIONS_A_ROLE}`,
    WAYBILL_ORIGINS: [
      issuerOf(site),
      `https://127.0.0.1:${tlsPort}`,
      `http://localhost:${port}`,
      `https://localhost:${tlsPort}`,
    ].join(","),
  };
  for (const [role, url] of Object.entries(databaseUrls(databaseUrl, secrets.passwords))) {
    env[`WAYBILL_DATABASE_URL_${role.toUpperCase()}`] = url;
  }
  if (options.replicaTls) env["WAYBILL_TLS_DIR"] = secrets.tlsDir;
  if (options.envoy) {
    env["WAYBILL_FRONT_PROXY_SECRET_FILE"] = secrets.frontProxySecretFile;
    env["WAYBILL_CATALOG_ADDRESS"] = `127.0.0.1:${options.replicaTls ? tlsPort : port}`;
  }
  return env;
}

/** The issuer of access tokens: the front proxy's first address. */
function issuerOf({ port }: Site): string {
  return `http://127.0.0.1:${port}`;
}

/** Starts Envoy, and waits until a call through it succeeds. */
async function startFrontProxy(
  site: Site,
  { endpoints, current }: PublishedReplicas,
): Promise<Envoy | undefined> {
  const { options, children, secrets, port, tlsPort, envoyPath: binary } = site;
  if (binary === undefined) return undefined;
  options.tell("starting Envoy");
  const envoy = await startEnvoy(children, {
    binary,
    folder: site.logs,
    port,
    tlsPort,
    tlsDir: secrets.tlsDir,
    replicaTls: options.replicaTls,
    issuer: issuerOf(site),
    secret: readFileSync(secrets.frontProxySecretFile, "utf8"),
    endpoints,
    startLimitMs: options.startLimitMs,
  });
  site.releasers.push("Envoy", () => envoy.child.end(ENVOY_END_MS));
  await envoy.follows(current());
  await callThrough(`127.0.0.1:${port}`);
  return envoy;
}

/** Calls the catalog through the front proxy, a replica and Postgres. */
async function callThrough(target: string): Promise<void> {
  const client = createClient(CatalogServiceService, target, { channel: LOCAL_CHANNEL });
  try {
    await client.getProduct({ name: "products/1" }, { timeoutMs: 10_000 });
  } catch (error) {
    throw new Failure(`a call through the front proxy failed: ${(error as Error).message}`);
  } finally {
    client.close();
  }
}

class LocalCluster implements Cluster {
  readonly #site: Site;
  readonly #database: Database;
  readonly #budget: Budget;
  readonly #published: PublishedReplicas;
  readonly #envoy: Envoy | undefined;
  /** Settles when the last requested scaling has ended: scalings run one after another. */
  #turn: Promise<unknown> = Promise.resolve();

  constructor(started: {
    site: Site;
    database: Database;
    budget: Budget;
    published: PublishedReplicas;
    envoy: Envoy | undefined;
  }) {
    this.#site = started.site;
    this.#database = started.database;
    this.#budget = started.budget;
    this.#published = started.published;
    this.#envoy = started.envoy;
  }

  get databaseUrl(): string {
    return this.#database.url;
  }

  embeddedDatabase(): EmbeddedDatabase | undefined {
    return this.#database.embedded;
  }

  status(): ClusterStatus {
    const { options, secrets, port, tlsPort } = this.#site;
    const envoy = this.#envoy;
    return {
      frontProxy: envoy && {
        port,
        tlsPort,
        caFile: join(secrets.tlsDir, "ca.crt"),
        adminPort: envoy.adminPort,
        pid: envoy.child.pid,
      },
      postgres: this.#database.embedded?.status,
      replicas: this.#published.replicas.serving,
      dataDir: options.dataDir,
      issuer: issuerOf(this.#site),
      adminSecretFile: secrets.adminSecretFile,
    };
  }

  scale(wanted: number, progress: (line: string) => void = () => {}): Promise<ClusterStatus> {
    const scaled = this.#turn.then(() => this.#scale(wanted, progress));
    this.#turn = scaled.catch(() => {});
    return scaled;
  }

  async stop(): Promise<void> {
    await this.#turn;
    const failures = await this.#site.releasers.release();
    if (failures[0] !== undefined) throw failures[0];
  }

  async #scale(wanted: number, progress: (line: string) => void): Promise<ClusterStatus> {
    checkReplicas(wanted, this.#budget);
    const { replicas, publish, current } = this.#published;
    const more = wanted - replicas.wanted;
    if (more > 0) {
      progress(`starting ${more} replicas`);
      await replicas.add(more);
    } else if (more < 0) {
      const end = replicas.leave(-more);
      publish();
      progress("waiting until the front proxy sends them no more calls");
      await this.#envoy?.follows(current());
      progress(`draining ${-more} replicas`);
      await end();
    }
    await this.#envoy?.follows(current());
    return this.status();
  }
}
