import { execFileSync } from "node:child_process";
import { chownSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import pg from "pg";
import { Failure } from "../../../services/replica/failure.ts";
import { programEnvironment } from "../environment.ts";
import type { Child, Children } from "../processes/children.ts";
import { POSTGRES_MAJOR, postgresBinaries } from "./postgresBinaries.ts";
import { blockingFolder, type PostgresUser, postgresUser } from "./postgresUser.ts";

const START_LIMIT_MS = 60_000;
const END_LIMIT_MS = 30_000;
const OWNER = "postgres";

/** A running Postgres. */
export interface Postgres {
  /** Address of the database's owner. */
  readonly url: string;
  readonly port: number;
  readonly child: Child;
}

/** How the embedded Postgres is set up. */
export interface EmbeddedSettings {
  readonly folder: string;
  readonly ownerPassword: string;
  readonly maxConnections: number;
  readonly port: number;
}

/** The embedded Postgres of a cluster. It can stop and start again on the same port. */
export class EmbeddedDatabase {
  readonly #children: Children;
  readonly #settings: EmbeddedSettings;
  #running: Postgres | undefined;

  constructor(children: Children, settings: EmbeddedSettings) {
    this.#children = children;
    this.#settings = settings;
  }

  /** Undefined before the first start. */
  get status(): { port: number; pid: number } | undefined {
    return this.#running && { port: this.#running.port, pid: this.#running.child.pid };
  }

  async start(): Promise<Postgres> {
    const { folder, ownerPassword, maxConnections, port } = this.#settings;
    this.#running = await startPostgres(
      this.#children,
      folder,
      ownerPassword,
      maxConnections,
      port,
    );
    return this.#running;
  }

  async stop(): Promise<void> {
    await this.#running?.child.end(END_LIMIT_MS);
  }
}

/**
 * Starts the embedded Postgres on the data in `folder`, and initializes it if there is none.
 *
 * @throws Failure naming the problem: data of another version, another server on the data, or a folder that
 *   the server's user cannot reach
 */
export async function startPostgres(
  children: Children,
  folder: string,
  ownerPassword: string,
  maxConnections: number,
  port: number,
): Promise<Postgres> {
  const user = postgresUser();
  const dataFolder = join(folder, "data");
  const blocking = blockingFolder(dataFolder, user);
  if (blocking !== undefined) {
    throw new Failure(
      `Postgres runs as the user "postgres", which cannot reach ${dataFolder}: ${blocking} is closed to it. Choose another folder with --data-dir, or chmod o+x ${blocking}`,
    );
  }
  const binaries = postgresBinaries(user, folder);
  if (existsSync(join(dataFolder, "PG_VERSION"))) checkData(dataFolder);
  else initialize(binaries, dataFolder, user, ownerPassword);

  const settings = {
    port,
    listen_addresses: "127.0.0.1",
    unix_socket_directories: "",
    max_connections: maxConnections,
    log_min_error_statement: "panic",
  };
  const args = Object.entries(settings).flatMap(([name, value]) => ["-c", `${name}=${value}`]);
  const url = `postgres://${OWNER}:${ownerPassword}@127.0.0.1:${port}/postgres`;
  const { child } = await children.startServing({
    name: "Postgres",
    command: join(binaries, "postgres"),
    args: ["-D", dataFolder, ...args],
    options: { cwd: dataFolder, env: programEnvironment(), ...user },
    logFile: join(folder, "postgres.log"),
    // Fast shutdown: Postgres ends open connections.
    endSignal: "SIGINT",
    startLimitMs: START_LIMIT_MS,
    ready: (_child, over) => untilConnected(url, over),
  });
  return { url, port, child };
}

function checkData(folder: string): void {
  const version = readFileSync(join(folder, "PG_VERSION"), "utf8").trim();
  if (version !== POSTGRES_MAJOR) {
    throw new Failure(
      `${folder} holds data of Postgres ${version}, and this is Postgres ${POSTGRES_MAJOR}: move it with pg_upgrade, or choose another folder with --data-dir`,
    );
  }
  const pidFile = join(folder, "postmaster.pid");
  if (!existsSync(pidFile)) return;
  const pid = Number(readFileSync(pidFile, "utf8").split("\n")[0]);
  if (isPostgres(pid)) {
    throw new Failure(
      `a Postgres (process ${pid}) runs on ${folder} already: stop it, or choose another folder with --data-dir`,
    );
  }
}

/** Checks that a process is a Postgres: after a crash, another program may have its id. */
function isPostgres(pid: number): boolean {
  try {
    return execFileSync("ps", ["-o", "comm=", "-p", `${pid}`], { encoding: "utf8" }).includes(
      "postgres",
    );
  } catch {
    return false;
  }
}

function initialize(
  binaries: string,
  folder: string,
  user: PostgresUser | undefined,
  password: string,
): void {
  // Remains of an attempt that ended before initdb wrote PG_VERSION.
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { mode: 0o700 });
  const passwordFile = join(folder, "..", ".initdb-password");
  writeFileSync(passwordFile, password, { mode: 0o600 });
  if (user !== undefined) {
    chownSync(folder, user.uid, user.gid);
    chownSync(passwordFile, user.uid, user.gid);
  }
  const args = [
    `--pgdata=${folder}`,
    `--username=${OWNER}`,
    `--pwfile=${passwordFile}`,
    "--auth=scram-sha-256",
    "--encoding=UTF8",
    "--locale=C",
  ];
  try {
    execFileSync(join(binaries, "initdb"), args, {
      stdio: "pipe",
      cwd: folder,
      env: programEnvironment(),
      ...user,
    });
  } catch (error) {
    const { stderr } = error as { stderr?: Buffer };
    throw new Failure(`initdb failed on ${folder}: ${stderr?.toString().trim() ?? error}`);
  } finally {
    rmSync(passwordFile, { force: true });
  }
}

async function untilConnected(url: string, over: AbortSignal): Promise<void> {
  while (!over.aborted) {
    const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 5000 });
    client.on("error", () => {});
    try {
      await client.connect();
      await client.end();
      return;
    } catch {
      await delay(50);
    }
  }
}
