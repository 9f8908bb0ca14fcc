import { createReadStream } from "node:fs";
import { createInterface } from "node:readline";
import { parseArgs } from "node:util";
import { Audit } from "#shared/anchors/audit.ts";
import { loadCredentials } from "#shared/auth/credentials/credentials.ts";
import { loadTls } from "#shared/auth/credentials/tls.ts";
import { createPool } from "#shared/pg/pool.ts";
import { RingWatcher } from "#shared/rings/ringWatcher.ts";
import { readVariables, requireVariable } from "./environment.ts";
import { ConfigError, fail } from "./failure.ts";

const USAGE = `Usage: node services/replica/audit.ts AUDIENCE [--anchor own|session] [FILE…]

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

async function* linesOf(files: readonly string[]): AsyncGenerator<string> {
  for (const input of files.length === 0
    ? [process.stdin]
    : files.map((f) => createReadStream(f))) {
    for await (const line of createInterface({ input })) if (line.trim() !== "") yield line.trim();
  }
}

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    options: {
      anchor: { type: "string", default: "own" },
      help: { type: "boolean", short: "h" },
    },
    allowPositionals: true,
  });
  if (values.help) {
    process.stdout.write(USAGE);
    return 0;
  }
  const [audience, ...files] = positionals;
  if (audience === undefined) throw new ConfigError("expected an audience");
  if (values.anchor !== "own" && values.anchor !== "session") {
    throw new ConfigError(`--anchor ${values.anchor}: expected own or session`);
  }
  const isOwn = values.anchor === "own";
  const schema = isOwn ? audience : "session";
  const env = readVariables(process.env);
  const tlsDir = env["WAYBILL_TLS_DIR"];
  const ring = new RingWatcher({
    target: requireVariable(env, "WAYBILL_KEYS_ADDRESS"),
    client: tlsDir ? loadTls(tlsDir).client : undefined,
    service: audience,
    audience,
    credentials: loadCredentials(requireVariable(env, "WAYBILL_CREDENTIALS_DIR")),
  });
  const url = requireVariable(env, `WAYBILL_DATABASE_URL_${schema.toUpperCase()}`);
  const pool = createPool(url, { max: 1, name: "waybill-audit" });
  let forks = 0;
  try {
    await ring.refresh();
    const audit = new Audit(pool, schema, audience, ring, isOwn ? undefined : audience);
    for await (const waybill of linesOf(files)) {
      const finding = await audit.examine(waybill);
      if (finding.verdict === "fork" || finding.verdict === "forged") forks += 1;
      process.stdout.write(`${JSON.stringify(finding)}\n`);
    }
  } finally {
    await ring.close();
    await pool.end();
  }
  return forks === 0 ? 0 : 3;
}

main().then(
  (code) => {
    process.exitCode = code;
  },
  (error: unknown) => fail("audit", error),
);
