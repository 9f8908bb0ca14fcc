import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { savedAudience } from "#shared/anchors/savedResponses.ts";
import { isRole, parseRoles, ROLES } from "../../services/replica/config/config.ts";
import {
  onlyArgument,
  readChoice,
  readVariables,
  type Variables,
} from "../../services/replica/config/environment.ts";
import { ConfigError, causes, Failure } from "../../services/replica/failure.ts";
import { ANCHOR_PLACES, inspectWaybills, readWaybills } from "../../services/replica/inspect.ts";
import { printWaiting, rotateRing } from "../../services/replica/rotate.ts";
import { type ClusterStatus, startCluster } from "./cluster.ts";
import { sendCommand } from "./control.ts";
import {
  dropForeignVariables,
  programEnvironment,
  readClusterEnvironment,
  SETTINGS,
} from "./environment.ts";
import { PROJECT } from "./paths.ts";
import { blockingFolder, postgresUser } from "./postgres/postgresUser.ts";
import { commands, table, tell } from "./print.ts";
import { makeSecrets, writeDatabaseSecret } from "./secrets/credentials.ts";
import { installTools, TOOL_NAMES, type Tool } from "./tools.ts";

const USAGE = `Usage: npm start -- [options]           run a cluster on this machine
       npm run scale -- N [options]     change the number of replicas of the running cluster
       npm run status -- [options]      print its addresses and processes
       npm run rotate -- AUDIENCE       rotate the audience's key ring; older waybills stay valid
       npm run inspect -- AUDIENCE [FILE] compare waybills, one a line, with the chains of their sessions
       npm run tools [-- NAME…]         build ${TOOL_NAMES.join(", ")}, or some of them
       npm run credentials -- DIR       create a cluster's secrets, for use elsewhere

  --port N         the front proxy's port on 127.0.0.1; 0: a free one   [8080]
  --tls-port N     its port for TLS   [8443; a free one if --port is given]
  --replicas N     number of replicas                                  [2]
  --data-dir DIR   folder of the cluster's data, secrets and logs      [.data]
  --roles R,…      roles of the replicas: ${ROLES.join(", ")}  [all]
  --replica-tls    replicas speak TLS to each other and to the front proxy, as on Kubernetes
  --no-envoy       no front proxy: clients balance over the replicas with gRPC's round robin
  --destroy KEY    with rotate: destroy this key, and refuse everything that it sealed
  --anchor WHERE   with inspect: schema of the session anchors, own or session   [own]
  --json           print one JSON object a line
  --help           print this text

Environment:
  DATABASE_URL     a Postgres of your own (its owner's address), in place of the embedded one;
                   with credentials: the database that the secrets in DIR/database/ lead to
  ENVOY_BIN        an Envoy of your own
  ${SETTINGS.join(", ")}
                   passed on to the replicas (node services/replica/main.ts --help). Other variables
                   WAYBILL_* and PG* are not
`;

const OPTIONS = {
  port: { type: "string" },
  "tls-port": { type: "string" },
  replicas: { type: "string", default: "2" },
  "data-dir": { type: "string" },
  roles: { type: "string", default: ROLES.join(",") },
  "replica-tls": { type: "boolean", default: false },
  "no-envoy": { type: "boolean", default: false },
  destroy: { type: "string" },
  anchor: { type: "string", default: "own" },
  json: { type: "boolean", default: false },
  help: { type: "boolean", short: "h", default: false },
} as const;

type Flags = ReturnType<typeof parse>["values"];

function parse(args: string[]) {
  try {
    return parseArgs({ args, options: OPTIONS, allowPositionals: true });
  } catch (error) {
    throw new ConfigError(`${(error as Error).message.split(". ")[0]}. See --help.`);
  }
}

const COMMANDS: Readonly<Record<string, (args: string[], flags: Flags) => unknown>> = {
  start,
  scale,
  status,
  rotate,
  inspect,
  tools,
  credentials,
};

async function main(): Promise<void> {
  const { values: flags, positionals } = parse(process.argv.slice(2));
  const [name, ...args] = positionals;
  if (flags.help || name === undefined) {
    process.stdout.write(USAGE);
    return;
  }
  const command = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
  if (command === undefined) throw new ConfigError(`there is no command ${name}. See --help.`);
  await command(args, flags);
}

/** Starts a cluster, and stops it at the first signal. */
async function start(args: string[], flags: Flags): Promise<void> {
  refuseArguments(args);
  const roles = parseRoles(flags.roles);
  const ignored = dropForeignVariables();
  if (ignored.length > 0 && !flags.json) tell(`not passed on: ${ignored.join(", ")}`);
  const stopAsked = signals();
  const startedAt = performance.now();
  const cluster = await startCluster({
    port: whole("--port", flags.port ?? "8080", 0, 65_535),
    tlsPort: whole("--tls-port", flags["tls-port"] ?? (flags.port ? "0" : "8443"), 0, 65_535),
    replicas: whole("--replicas", flags.replicas, 1, 1000),
    dataDir: dataDir(flags),
    roles,
    envoy: !flags["no-envoy"],
    replicaTls: flags["replica-tls"],
    databaseUrl: process.env["DATABASE_URL"],
    tell: flags.json ? () => {} : tell,
  });
  show(cluster.status(), flags);
  if (!flags.json) {
    const seconds = ((performance.now() - startedAt) / 1000).toFixed(1);
    console.log(`\n${commands(cluster.status())}\n\nstarted in ${seconds} s; Ctrl-C stops it\n`);
    console.log("ready");
  }
  await stopAsked;
  if (!flags.json) tell("draining");
  await cluster.stop();
}

/**
 * Settles at the first SIGINT, SIGTERM or SIGHUP. Exits at once at another one that comes over a second
 * later: npm repeats a signal that the terminal has already sent, so the first two are one.
 */
function signals(): Promise<void> {
  return new Promise((resolve) => {
    let first: number | undefined;
    const handle = () => {
      first ??= performance.now();
      if (performance.now() - first > 1000) process.exit(1);
      resolve();
    };
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, handle);
  });
}

async function scale(args: string[], flags: Flags): Promise<void> {
  const count = onlyArgument(args, "expected one number: npm run scale -- 4");
  const replicas = whole("scale", count, 1, 1000);
  const progress = flags.json ? () => {} : tell;
  const status = await sendCommand(dataDir(flags), { command: "scale", replicas }, progress);
  show(status as ClusterStatus, flags);
}

function tools(names: string[]): void {
  for (const name of names) {
    if (TOOL_NAMES.some((tool) => tool === name)) continue;
    throw new ConfigError(`tools ${name}: expected some of ${TOOL_NAMES.join(", ")}`);
  }
  installTools(names.length > 0 ? (names as Tool[]) : TOOL_NAMES, tell);
}

async function rotate(args: string[], flags: Flags): Promise<void> {
  const services = ROLES.filter((role) => role !== "keys");
  const audiences: string[] = services.flatMap((role) => [role, savedAudience(role)]);
  const expected = `rotate ${args.join(" ")}: expected one of ${audiences.join(", ")}`;
  const audience = onlyArgument(args, expected);
  if (!audiences.includes(audience)) throw new ConfigError(expected);
  const { destroy = "" } = flags;
  const work = `rotate ${audience}${destroy && ` --destroy=${destroy}`}`;
  const rotated = await inCluster(work, flags, (env) =>
    rotateRing(env, audience, destroy, printWaiting),
  );
  const { version, activeKeyId, unaware } = rotated;
  if (flags.json) {
    console.log(JSON.stringify(rotated));
    return;
  }
  const sealer = activeKeyId === "" ? "no key seals yet" : `key ${activeKeyId} seals`;
  console.log(`version ${version} of the ring of ${audience}: ${sealer}`);
  for (const holder of unaware) console.log(`has not received it yet: ${holder}`);
}

/** Prints one finding a line. Exits with 3 if a waybill is a fork or a forgery. */
async function inspect(args: string[], flags: Flags): Promise<void> {
  const [audience, file, ...more] = args;
  const anchor = readChoice({ "--anchor": flags.anchor }, "--anchor", ANCHOR_PLACES);
  // The session service may anchor audiences of services outside this cluster.
  const isKnown = anchor === "session" || (audience !== undefined && isRole(audience));
  if (audience === undefined || more.length > 0 || !isKnown) {
    throw new ConfigError(`inspect ${args.join(" ")}: expected a service, and a file of waybills`);
  }
  const waybills = readWaybills(file === undefined ? [] : [file]);
  const print = (line: string) => process.stdout.write(line);
  const hasFork = await inCluster(`inspect ${audience} --anchor ${anchor}`, flags, (env) =>
    inspectWaybills(env, audience, anchor, waybills, print),
  );
  if (hasFork) process.exitCode = 3;
}

/**
 * Does a program's work on the running cluster, with that program's environment in place of this process's
 * own, so that the caller's proxies and the variables of other clusters do not apply.
 *
 * @throws Failure when no cluster runs, or naming the work when it fails
 */
async function inCluster<T>(
  work: string,
  flags: Flags,
  run: (env: Variables) => Promise<T>,
): Promise<T> {
  const folder = dataDir(flags);
  await sendCommand(folder, { command: "status" }, tell);
  process.env = programEnvironment(readClusterEnvironment(folder));
  try {
    return await run(readVariables(process.env));
  } catch (error) {
    throw new Failure(`${work}: ${causes(error)}`);
  }
}

async function credentials(args: string[]): Promise<void> {
  const folder = resolve(onlyArgument(args, "expected one folder: npm run credentials -- DIR"));
  const { passwords } = await makeSecrets(folder);
  console.log(`created the secrets that ${folder} lacked; only you can read them`);
  const ownerUrl = process.env["DATABASE_URL"];
  if (!ownerUrl) return;
  if (!URL.canParse(ownerUrl)) {
    throw new ConfigError("DATABASE_URL: expected postgres://OWNER:PASSWORD@HOST/DATABASE");
  }
  const databaseFolder = join(folder, "database");
  writeDatabaseSecret(databaseFolder, ownerUrl, passwords);
  console.log(`wrote the services' addresses of the database of DATABASE_URL to ${databaseFolder}`);
}

async function status(args: string[], flags: Flags): Promise<void> {
  refuseArguments(args);
  show((await sendCommand(dataDir(flags), { command: "status" }, tell)) as ClusterStatus, flags);
}

function refuseArguments(args: string[]): void {
  if (args.length > 0) throw new ConfigError(`unexpected: ${args.join(" ")}. See --help.`);
}

function show(status: ClusterStatus, flags: Flags): void {
  console.log(flags.json ? JSON.stringify(status) : table(status));
}

function dataDir(flags: Flags): string {
  if (flags["data-dir"] !== undefined) return resolve(flags["data-dir"]);
  const usual = join(PROJECT, ".data");
  // Postgres does not run as root, and its user may not reach a project of root's.
  const isReachable = blockingFolder(join(usual, "postgres"), postgresUser()) === undefined;
  return isReachable ? usual : "/var/lib/waybill";
}

function whole(name: string, text: string, min: number, max: number): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || value < min || value > max) {
    throw new ConfigError(`${name} ${text}: expected a whole number from ${min} to ${max}`);
  }
  return value;
}

main().then(
  () => process.exit(),
  (error: unknown) => {
    const known = error instanceof Failure;
    console.error(`waybill: ${known ? error.message : (error as Error).stack}`);
    process.exit(known ? error.exitCode : 1);
  },
);
