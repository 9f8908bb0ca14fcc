import { createReadStream } from "node:fs";
import { createInterface } from "node:readline";
import { parseArgs } from "node:util";
import { RingWatcher } from "waybill";
import { loadCredentials, loadTls } from "waybill/auth";
import { createPool } from "waybill/postgres";
import { Inspector } from "#shared/anchors/inspect.ts";
import { readChoice, readVariables, required, type Variables } from "./config/environment.ts";
import { ConfigError, fail } from "./failure.ts";

const USAGE = `Usage: node services/replica/inspect.ts AUDIENCE [--anchor own|session] [FILE…]

Compares waybills, one a line, with the chains of their sessions, and prints one JSON object for each:
genuine, fork, forged, unknown, carried, destroyed (its key was) or invalid. Reads stdin without a file.
Exits with 3 on a fork or a forgery: an attacker had the audience's keys, or a replica.

  --anchor WHERE   schema of the session anchors: the service's own, or session for a service with
                   the option ANCHOR_SESSION   [own]

Environment:
  WAYBILL_CREDENTIALS_DIR           folder with the key of the audience's service (required)
  WAYBILL_KEYS_ADDRESS              gRPC target of the key service (required)
  WAYBILL_DATABASE_URL_<AUDIENCE>   Postgres address of the service; with --anchor session,
                                    WAYBILL_DATABASE_URL_SESSION (required)
  WAYBILL_TLS_DIR                   folder with ca.crt, tls.crt, tls.key; default: plaintext
`;

/** Schemas that can hold an audience's anchors: the service's own, or the session service's. */
export const ANCHOR_PLACES = ["own", "session"] as const;
export type AnchorPlace = (typeof ANCHOR_PLACES)[number];

/** Reads waybills, separated by white space, from files; without files, from stdin. */
export async function* readWaybills(files: readonly string[]): AsyncGenerator<string> {
  const inputs = files.length === 0 ? [process.stdin] : files.map((file) => createReadStream(file));
  for (const input of inputs) {
    for await (const line of createInterface({ input })) {
      yield* line.split(/\s+/).filter((word) => word !== "");
    }
  }
}

/**
 * Inspects waybills: compares each with the chain of its session.
 *
 * @param env the variables that `--help` lists
 * @param found called with each waybill's finding, as a line of JSON
 * @returns whether a waybill is a fork or a forgery
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
  const anchor = readChoice({ "--anchor": values.anchor }, "--anchor", ANCHOR_PLACES);
  const print = (line: string) => process.stdout.write(line);
  const hasFork = await inspectWaybills(env, audience, anchor, readWaybills(files), print);
  if (hasFork) process.exitCode = 3;
}

if (import.meta.main) main().catch((error: unknown) => fail("inspect", error));
