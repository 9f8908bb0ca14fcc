import { readFileSync } from "node:fs";
import { join } from "node:path";
import { writePrivate } from "./secrets/credentials.ts";

/**
 * The environment of the programs that the runner starts. A program gets the variables that this file lists from the
 * caller's environment, and those that the runner sets; nothing else. The caller may have variables of another
 * cluster, which would lead a replica to that cluster's keys and data.
 */

/** Variables that a program needs to run on this machine at all. */
const MACHINE = [
  "PATH",
  "HOME",
  "TMPDIR",
  "LANG",
  "LC_ALL",
  "TZ",
  "LD_LIBRARY_PATH",
  "NODE_OPTIONS",
  "NODE_EXTRA_CA_CERTS",
  "SSL_CERT_FILE",
  "SSL_CERT_DIR",
] as const;

/** Settings of replicas that `npm start` passes on. They change no address, identity or secret. */
export const SETTINGS = [
  "WAYBILL_LOG_LEVEL",
  "WAYBILL_LONGEST_SESSION_S",
  "WAYBILL_RING_LEASE_S",
] as const;

/** Variables that would change a cluster if they were passed on: the programs' own, and those of libpq. */
const FOREIGN = /^(WAYBILL_|PG)/;

/**
 * Channel options of the runner's own gRPC clients. They call this machine alone, and a proxy of the
 * caller's environment must not come between.
 */
export const LOCAL_CHANNEL = {
  "grpc.use_local_subchannel_pool": 1,
  "grpc.enable_http_proxy": 0,
} as const;

/** Builds a program's environment: the listed variables of the caller, and those given, which win. */
export function programEnvironment(
  given: Readonly<Record<string, string>> = {},
  caller: NodeJS.ProcessEnv = process.env,
): Record<string, string> {
  const env: Record<string, string> = {};
  for (const name of [...MACHINE, ...SETTINGS]) {
    const value = caller[name];
    if (value !== undefined) env[name] = value;
  }
  return { ...env, ...given };
}

/**
 * Removes from the runner's own environment the variables that it does not pass on. The Postgres client
 * reads `PGOPTIONS`, `PGSSLMODE` and others by itself.
 *
 * @returns their names, sorted
 */
export function dropForeignVariables(env: NodeJS.ProcessEnv = process.env): string[] {
  const names = Object.keys(env)
    .filter((name) => FOREIGN.test(name) && !SETTINGS.some((setting) => setting === name))
    .sort();
  for (const name of names) delete env[name];
  return names;
}

/** The file with the environment of programs that call the running cluster. */
const clusterFile = (dataDir: string) => join(dataDir, "secrets", "environment.json");

/** Leaves the environment that `npm run rotate` and `npm run inspect` reach the cluster by. */
export function writeClusterEnvironment(
  dataDir: string,
  env: Readonly<Record<string, string>>,
): void {
  writePrivate(clusterFile(dataDir), JSON.stringify(env));
}

/** Reads the environment that `writeClusterEnvironment` has left. */
export function readClusterEnvironment(dataDir: string): Record<string, string> {
  return JSON.parse(readFileSync(clusterFile(dataDir), "utf8"));
}
