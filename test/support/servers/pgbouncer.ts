import { spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createConnection } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { postgresUser } from "../../../deploy/local/postgres/postgresUser.ts";
import { freePort } from "../../../deploy/local/processes/ports.ts";
import { waitFor } from "../waitFor.ts";
import type { Program } from "./debian.ts";

/** Connections per role. A prime number, so that alternating calls do not return to the same connection. */
export const POOL_SIZE = 3;

export interface PgBouncer {
  readonly port: number;
  /** URL of its admin console. */
  readonly consoleUrl: string;
  stop(): Promise<void>;
}

/**
 * @param databaseUrl of the Postgres behind it
 * @param passwords of the login roles that may come
 */
export async function startPgBouncer(
  { path, env }: Program,
  databaseUrl: string,
  passwords: Readonly<Record<string, string>>,
): Promise<PgBouncer> {
  const folder = mkdtempSync(join(tmpdir(), "waybill-pgbouncer-"));
  const port = await freePort();
  const { hostname, port: behind } = new URL(databaseUrl);
  const users = Object.entries(passwords).map(([role, secret]) => `"waybill_${role}" "${secret}"`);
  users.push('"observer" "observer-1"');
  writeFileSync(join(folder, "users.txt"), users.join("\n"));
  writeFileSync(
    join(folder, "pgbouncer.ini"),
    `[databases]
* = host=${hostname} port=${behind}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = ${port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = ${join(folder, "users.txt")}
stats_users = observer
pool_mode = transaction
default_pool_size = ${POOL_SIZE}
# Each transaction comes by another connection than the one before.
min_pool_size = ${POOL_SIZE}
server_round_robin = 1
`,
  );
  chmodSync(folder, 0o755);
  const child = spawn(path, [join(folder, "pgbouncer.ini")], {
    env: { ...process.env, ...env },
    // PgBouncer refuses to run as root.
    ...postgresUser(),
    stdio: ["ignore", "ignore", "pipe"],
  });
  const ended = once(child, "close");
  let said = "";
  child.stderr.on("data", (bytes) => {
    said += bytes;
  });
  await waitFor("PgBouncer to listen", () => {
    if (child.exitCode !== null) throw new Error(`PgBouncer ended: ${said}`);
    return listens(port);
  });
  return {
    port,
    consoleUrl: `postgres://observer:observer-1@127.0.0.1:${port}/pgbouncer`,
    async stop() {
      child.kill("SIGKILL");
      await ended;
      rmSync(folder, { recursive: true });
    },
  };
}

function listens(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection(port, "127.0.0.1");
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
}
