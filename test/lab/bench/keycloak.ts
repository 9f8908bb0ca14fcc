/**
 * Keycloak on the same Postgres, in its own database, as another token server. Measured by the CPU of its
 * process after its compiler has warmed up.
 */
import { execFileSync, spawn, spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { chmodSync, existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import pg from "pg";
import { CACHE } from "../../../deploy/local/paths.ts";
import { freePort } from "../../../deploy/local/processes/ports.ts";
import { measureGrants } from "./httpGrants.ts";
import type { OtherServer } from "./oidcProvider.ts";

const VERSION = "26.4.2";
const FOLDER = join(CACHE, `keycloak-${VERSION}`);
const HOME = join(FOLDER, `keycloak-${VERSION}`);
const WARM_UP = 20_000;

/** Starts Keycloak. Undefined without Java, or without Maven to download it. */
export async function keycloak(
  databaseUrl: string,
  calls: number,
  concurrency: number,
): Promise<OtherServer | undefined> {
  const has = (command: string, flag: string) => spawnSync(command, [flag]).status === 0;
  if (!has("java", "-version") || !has("mvn", "-version")) return undefined;
  install();
  const owner = new pg.Client({ connectionString: databaseUrl });
  await owner.connect();
  await owner.query("CREATE DATABASE keycloak");
  await owner.end();
  const { hostname, port: databasePort, username, password } = new URL(databaseUrl);
  const [port, managementPort, secret] = [
    await freePort(),
    await freePort(),
    randomBytes(24).toString("base64url"),
  ];
  const args = ["start", "--http-enabled=true", `--http-port=${port}`, "--http-host=127.0.0.1"];
  args.push("--hostname-strict=false", `--http-management-port=${managementPort}`, "--cache=local");
  args.push(`--db-url=jdbc:postgresql://${hostname}:${databasePort}/keycloak`, "--optimized");
  const child = spawn(join(HOME, "bin", "kc.sh"), args, {
    stdio: "ignore",
    env: {
      ...process.env,
      KC_DB_USERNAME: decodeURIComponent(username),
      KC_DB_PASSWORD: decodeURIComponent(password),
      KC_BOOTSTRAP_ADMIN_USERNAME: "admin",
      KC_BOOTSTRAP_ADMIN_PASSWORD: secret,
    },
  });
  // Also if `close` is never called.
  process.once("exit", () => child.kill());
  const base = `http://127.0.0.1:${port}`;
  const path = "/realms/master/protocol/openid-connect/token";
  const token = await untilAdmin(`${base}${path}`, secret);
  const made = await fetch(`${base}/admin/realms/master/clients`, {
    method: "POST",
    headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
    body: JSON.stringify({
      ...{ clientId: "a", secret, publicClient: false },
      ...{ serviceAccountsEnabled: true, standardFlowEnabled: false },
    }),
  });
  if (!made.ok) throw new Error(`Keycloak makes no client: ${made.status}`);
  const body = `grant_type=client_credentials&client_id=a&client_secret=${secret}`;
  const endpoint = { port, path, body };
  await measureGrants(endpoint, child.pid!, WARM_UP, concurrency);
  return {
    measure: () => measureGrants(endpoint, child.pid!, calls, concurrency),
    async close() {
      child.kill();
      await once(child, "exit");
    },
  };
}

function install(): void {
  const done = join(FOLDER, "installed");
  if (existsSync(done)) return;
  mkdirSync(FOLDER, { recursive: true });
  const artifact = `org.keycloak:keycloak-quarkus-dist:${VERSION}:zip`;
  const run = (command: string, ...args: string[]) =>
    execFileSync(command, args, { cwd: FOLDER, stdio: "ignore" });
  run(
    "mvn",
    "-q",
    "-B",
    "dependency:copy",
    `-Dartifact=${artifact}`,
    `-DoutputDirectory=${FOLDER}`,
  );
  run("python3", "-m", "zipfile", "-e", `keycloak-quarkus-dist-${VERSION}.zip`, ".");
  chmodSync(join(HOME, "bin", "kc.sh"), 0o755);
  run(join(HOME, "bin", "kc.sh"), "build", "--db=postgres");
  writeFileSync(done, "");
}

/** Waits for Keycloak, and gets an administrator's token. */
async function untilAdmin(url: string, secret: string): Promise<string> {
  const body = `grant_type=password&client_id=admin-cli&username=admin&password=${secret}`;
  const headers = { "content-type": "application/x-www-form-urlencoded" };
  for (const end = Date.now() + 180_000; Date.now() < end; ) {
    const answer = await fetch(url, { method: "POST", headers, body }).catch(() => undefined);
    if (answer?.ok) return ((await answer.json()) as { access_token: string }).access_token;
    await delay(500);
  }
  throw new Error("Keycloak does not start");
}
