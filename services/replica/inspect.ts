import { createReadStream } from "node:fs";
import { createInterface } from "node:readline";
import { parseArgs } from "node:util";
import { RingWatcher } from "waybill";
import { loadCredentials, loadTls } from "waybill/auth";
import { createPool } from "waybill/postgres";
import { Inspector } from "#shared/anchors/inspect.ts";
import { readVariables, required, type Variables } from "./config/environment.ts";
import { ConfigError, fail } from "./failure.ts";

const USAGE = `Usage: node services/replica/inspect.ts AUDIENCE [--anchor own|session] [FILE…]

Holds waybills, one a line, against the lines that the advances of their sessions have left, and
prints for each what it turns out to be, as JSON: genuine, fork, forged, unknown, carried, destroyed
(so was its key) or invalid. Without a file they are read from stdin. Exits with 3 when there is a fork
or a forgery among them: the audience's keys, or a replica, were in wrong hands.

  --anchor WHERE   where the sessions stand: in the service's own schema, or, as the sessions of an
                   option with ANCHOR_SESSION do, at the session service   [own]

Environment:
  WAYBILL_CREDENTIALS_DIR           folder with the key of the audience's service (required)
  WAYBILL_KEYS_ADDRESS              gRPC target of the key service (required)
  WAYBILL_DATABASE_URL_<AUDIENCE>   Postgres address of the service; with --anchor session,
                                    WAYBILL_DATABASE_URL_SESSION (required)
  WAYBILL_TLS_DIR                   folder with ca.crt, tls.crt, tls.key; default: plaintext
`;

/** Where the sessions of an audience stand. */
export type AnchorPlace = "own" | "session";

/** Reads waybills, with white space between them, from files, or without any from stdin. */
export async function* readWaybills(files: readonly string[]): AsyncGenerator<string> {
  const inputs = files.length === 0 ? [process.stdin] : files.map((file) => createReadStream(file));
  for (const input of inputs) {
    for await (const line of createInterface({ input })) {
      yield* line.split(/\s+/).filter((word) => word !== "");
    }
  }
}

/**
 * Holds waybills against the lines of their sessions' advances.
 *
 * @param env the variables that `--help` lists
 * @param found called with each waybill's finding, as a line of JSON
 * @returns whether there is a fork or a forgery among them
 */
export async function inspectWaybills(
  env: Variables,
  audience: string,
  anchor: AnchorPlace,
  waybills: AsyncIterable<string> | Iterable<string>,
  found: (line: string) => void,
): Promise<boolean> {
  const isOwn = anchor === "own";
  const schema = isOwn ? audience : "session";
  const url = required(env, `WAYBILL_DATABASE_URL_${schema.toUpperCase()}`);
  const tlsDir = env["WAYBILL_TLS_DIR"];
  const ring = new RingWatcher({
    target: required(env, "WAYBILL_KEYS_ADDRESS"),
    client: tlsDir ? loadTls(tlsDir).client : undefined,
    service: audience,
    audience,
    credentials: loadCredentials(required(env, "WAYBILL_CREDENTIALS_DIR")),
  });
  const pool = createPool(url, { max: 1, name: "waybill-inspect" });
  let hasFork = false;
  try {
    await ring.refresh();
    const inspector = new Inspector(pool, schema, audience, ring, isOwn ? undefined : audience);
    for await (const waybill of waybills) {
      const finding = await inspector.inspect(waybill);
      hasFork ||= finding.verdict === "fork" || finding.verdict === "forged";
      found(`${JSON.stringify(finding)}\n`);
    }
  } finally {
    await ring.close();
    await pool.end();
  }
  return hasFork;
}

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    options: {
      anchor: { type: "string", default: "own" },
      help: { type: "boolean", short: "h" },
    },
    allowPositionals: true,
  });
  if (values.help) {
    process.stdout.write(USAGE);
    return;
  }
  const [audience, ...files] = positionals;
  if (audience === undefined) throw new ConfigError("expected an audience");
  const env = readVariables(process.env);
  const { anchor } = values;
  if (anchor !== "own" && anchor !== "session") {
    throw new ConfigError(`--anchor ${anchor}: expected own or session`);
  }
  const print = (line: string) => process.stdout.write(line);
  if (await inspectWaybills(env, audience, anchor, readWaybills(files), print))
    process.exitCode = 3;
}

if (import.meta.main) main().catch((error: unknown) => fail("inspect", error));
