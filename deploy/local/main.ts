import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { savedAudience } from "#shared/anchors/savedResponses.ts";
import { ROLES } from "../../services/replica/config/config.ts";
import { readVariables, type Variables } from "../../services/replica/config/environment.ts";
import { causes } from "../../services/replica/failure.ts";
import { inspectWaybills, readWaybills } from "../../services/replica/inspect.ts";
import { printWaiting, rotateRing } from "../../services/replica/rotate.ts";
import { type ClusterStatus, startCluster } from "./cluster.ts";
import { sendCommand } from "./control.ts";
import { makeSecrets, writeDatabaseSecret } from "./credentials.ts";
import {
  dropForeignVariables,
  programEnvironment,
  readClusterEnvironment,
  SETTINGS,
} from "./environment.ts";
import { Failure } from "./failure.ts";
import { PROJECT } from "./paths.ts";
import { blockingFolder, postgresUser } from "./postgresUser.ts";
import { commands, table, tell } from "./print.ts";
import { installTools, TOOL_NAMES, type Tool } from "./tools.ts";

const USAGE = `Usage: npm start -- [options]           run a cluster on this machine
       npm run scale -- N [options]     change the number of replicas of the running one
       npm run status -- [options]      what runs where
       npm run rotate -- AUDIENCE       let another key seal its waybills; older ones stay good
       npm run inspect -- AUDIENCE [FILE] whether waybills, one a line, are what was sealed
       npm run tools [-- NAME…]         build ${TOOL_NAMES.join(", ")}, or some of them
       npm run credentials -- DIR       make a cluster's secrets, for use elsewhere

  --port N         the front proxy's port on 127.0.0.1; 0: a free one   [8080]
  --tls-port N     its port for TLS   [8443; a free one where --port is given]
  --replicas N     how many replicas                                   [2]
  --data-dir DIR   where data, keys and logs are kept                  [.data]
  --roles R,…      what the replicas serve: ${ROLES.join(", ")}  [all]
  --replica-tls    replicas speak TLS to each other and to the front proxy, as on Kubernetes
  --no-envoy       no front proxy: replicas only, for gRPC's own round robin
  --destroy KEY    with rotate: destroy this key, and refuse what it has sealed
  --anchor WHERE   with inspect: where the sessions stand, own or session   [own]
  --json           for machines: one JSON object a line
  --help           this text

Environment:
  DATABASE_URL     a Postgres of your own (its owner's address), in place of the embedded one;
                   with credentials: the one that DIR/database/ is to lead to
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
    throw new Failure(`${(error as Error).message.split(". ")[0]}. See --help.`, 2);
  }
}

async function main(): Promise<void> {
  const { values: flags, positionals } = parse(process.argv.slice(2));
  const [command, ...rest] = positionals;
  if (flags.help || command === undefined) {
    process.stdout.write(USAGE);
    return;
  }
  if (command === "scale") await scale(rest, flags);
  else if (command === "tools") tools(rest);
  else if (command === "rotate") await rotate(rest, flags);
  else if (command === "inspect") await inspect(rest, flags);
  else if (command === "credentials") await credentials(rest);
  else if (rest.length > 0) throw new Failure(`unexpected: ${rest.join(" ")}. See --help.`, 2);
  else if (command === "start") await start(flags);
  else if (command === "status") await status(flags);
  else throw new Failure(`there is no command ${command}. See --help.`, 2);
}

async function start(flags: Flags): Promise<void> {
  const roles = flags.roles.split(",");
  for (const role of roles) {
    if (!ROLES.some((each) => each === role)) {
      throw new Failure(`--roles ${flags.roles}: expected some of ${ROLES.join(", ")}`, 2);
    }
  }
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
    console.log(`\n${commands(cluster.status())}\n\nstarted in ${seconds} s; Ctrl-C ends it\n`);
    console.log("ready");
  }
  await stopAsked;
  if (!flags.json) tell("draining");
  await cluster.stop();
}

/**
 * Settles at the first SIGINT or SIGTERM. npm passes on a signal that the terminal has sent already,
 * so the same one comes twice; one that comes a second later is meant.
 */
function signals(): Promise<void> {
  return new Promise((resolve) => {
    let first: number | undefined;
    const heard = () => {
      first ??= performance.now();
      if (performance.now() - first > 1000) process.exit(1);
      resolve();
    };
    process.on("SIGINT", heard);
    process.on("SIGTERM", heard);
    process.on("SIGHUP", heard);
  });
}

async function scale(args: string[], flags: Flags): Promise<void> {
  if (args.length !== 1) throw new Failure("expected one number: npm run scale -- 4", 2);
  const replicas = whole("scale", args[0]!, 1, 1000);
  const progress = flags.json ? () => {} : tell;
  const answer = await sendCommand(dataDir(flags), { command: "scale", replicas }, progress);
  show(answer as ClusterStatus, flags);
}

function tools(names: string[]): void {
  for (const name of names) {
    if (TOOL_NAMES.some((tool) => tool === name)) continue;
    throw new Failure(`tools ${name}: expected some of ${TOOL_NAMES.join(", ")}`, 2);
  }
  installTools(names.length > 0 ? (names as Tool[]) : TOOL_NAMES, tell);
}

async function rotate(args: string[], flags: Flags): Promise<void> {
  const [audience, ...more] = args;
  const services = ROLES.filter((role) => role !== "keys");
  const audiences: string[] = services.flatMap((role) => [role, savedAudience(role)]);
  if (audience === undefined || more.length > 0 || !audiences.includes(audience)) {
    throw new Failure(`rotate ${args.join(" ")}: expected one of ${audiences.join(", ")}`, 2);
  }
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
  for (const holder of unaware) console.log(`has not heard of it yet: ${holder}`);
}

/** Prints a finding a line. Ends with 3 when there is a fork or a forgery among them. */
async function inspect(args: string[], flags: Flags): Promise<void> {
  const [audience, file, ...more] = args;
  const { anchor } = flags;
  if (anchor !== "own" && anchor !== "session") {
    throw new Failure(`--anchor ${anchor}: expected own or session`, 2);
  }
  // Whose sessions stand at the session service may be no service of this cluster's own.
  const isKnown = anchor === "session" || ROLES.some((role) => role === audience);
  if (audience === undefined || more.length > 0 || !isKnown) {
    throw new Failure(`inspect ${args.join(" ")}: expected a service, and a file of waybills`, 2);
  }
  const waybills = readWaybills(file === undefined ? [] : [file]);
  const print = (line: string) => process.stdout.write(line);
  const hasFork = await inCluster(`inspect ${audience} --anchor ${anchor}`, flags, (env) =>
    inspectWaybills(env, audience, anchor, waybills, print),
  );
  if (hasFork) throw new Failure("there is a fork", 3);
}

/**
 * Does the work of a program of the running cluster, with that program's environment in the place of this
 * process's own: the caller's proxies and the caller's variables of other databases do not apply.
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
  if (args.length !== 1) throw new Failure("expected one folder: npm run credentials -- DIR", 2);
  const folder = resolve(args[0]!);
  const { passwords } = await makeSecrets(folder);
  console.log(`made in ${folder}, for you alone to read; what was there already stays`);
  const ownerUrl = process.env["DATABASE_URL"];
  if (!ownerUrl) return;
  if (!URL.canParse(ownerUrl)) {
    throw new Failure("DATABASE_URL: expected postgres://OWNER:PASSWORD@HOST/DATABASE", 2);
  }
  writeDatabaseSecret(join(folder, "database"), ownerUrl, passwords);
  console.log(
    `written to ${join(folder, "database")}: the addresses of the database of DATABASE_URL`,
  );
}

async function status(flags: Flags): Promise<void> {
  show((await sendCommand(dataDir(flags), { command: "status" }, tell)) as ClusterStatus, flags);
}

function show(status: ClusterStatus, flags: Flags): void {
  console.log(flags.json ? JSON.stringify(status) : table(status));
}

function dataDir(flags: Flags): string {
  if (flags["data-dir"] !== undefined) return resolve(flags["data-dir"]);
  const usual = join(PROJECT, ".data");
  const isReachable = blockingFolder(join(usual, "postgres"), postgresUser()) === undefined;
  return isReachable ? usual : "/var/lib/waybill";
}

function whole(name: string, text: string, min: number, max: number): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || value < min || value > max) {
    throw new Failure(`${name} ${text}: expected a whole number from ${min} to ${max}`, 2);
  }
  return value;
}

main().then(
  () => process.exit(0),
  (error: unknown) => {
    const known = error instanceof Failure;
    console.error(`waybill: ${known ? error.message : (error as Error).stack}`);
    process.exit(known ? error.exitCode : 1);
  },
);
