import { parseArgs } from "node:util";
import { Metadata, type ServiceError } from "@grpc/grpc-js";
import { readError } from "waybill";
import { loadCredentials, loadTls } from "waybill/auth";
import { createClient } from "waybill/client";
import { KeysServiceService, type RotateRingResponse } from "#proto/waybill/keys/v1/keys.ts";
import { assertService } from "#shared/auth/credentials/assertion.ts";
import { readVariables, required, type Variables } from "./config/environment.ts";
import { ConfigError, fail } from "./failure.ts";

/** Longer than a lease lasts, and is kept, by default. */
const PATIENCE_MS = 60_000;

const USAGE = `Usage: node services/replica/rotate.ts AUDIENCE [--destroy KEY_ID]

Rotates the ring of an audience, such as checkout, or of what is kept of its sessions, checkout-saved:
a key that stands by seals from now on, the key that sealed so far opens only, and a new one stands by.
What was sealed before stays good. Every replica must have acknowledged the keys that stand by: one that
was killed is waited for until its lease has run out, a minute at most. Prints the ring's version and the
id of the key that seals, as JSON.

  --destroy KEY_ID   a key that has leaked: what it sealed is refused from now on, and its holders
                     resume their sessions or begin again. The sealer stays, unless it is that key.
                     Waits for nobody; names those who had not heard of it three seconds later
                     (unaware): they stop when their leases run out

Environment:
  WAYBILL_CREDENTIALS_DIR   folder with the key of the audience's service (required)
  WAYBILL_KEYS_ADDRESS      gRPC target of the key service (required)
  WAYBILL_TLS_DIR           folder with ca.crt, tls.crt, tls.key; default: plaintext
`;

/**
 * Rotates the ring of an audience. Retries while a replica has not acknowledged the ring's keys.
 *
 * @param env the variables that `--help` lists
 * @param destroyKeyId key to destroy; "" destroys none
 * @param waiting called with the replicas that have not acknowledged, whenever they change
 */
export async function rotateRing(
  env: Variables,
  audience: string,
  destroyKeyId: string,
  waiting: (holders: string) => void,
): Promise<RotateRingResponse> {
  const credentials = loadCredentials(required(env, "WAYBILL_CREDENTIALS_DIR"));
  const target = required(env, "WAYBILL_KEYS_ADDRESS");
  const tlsDir = env["WAYBILL_TLS_DIR"];
  const client = createClient(KeysServiceService, target, tlsDir ? loadTls(tlsDir).client : {});
  const { path } = KeysServiceService.rotateRing;
  const service = audience.replace(/-saved$/, "");
  const until = Date.now() + PATIENCE_MS;
  try {
    for (let waited = ""; ; ) {
      const metadata = new Metadata();
      metadata.set("authorization", await assertService(credentials, service, path));
      try {
        return await client.rotateRing({ audience, destroyKeyId }, { metadata });
      } catch (error) {
        const { reason, metadata: details } = readError(error as ServiceError);
        if (reason !== "ROTATION_PENDING" || Date.now() > until) throw error;
        const holders = details["holders"] ?? "";
        if (holders !== waited) waiting(holders);
        waited = holders;
      }
    }
  } finally {
    client.close();
  }
}

/** Tells a person which replicas a rotation waits for. */
export function printWaiting(holders: string): void {
  process.stderr.write(`waiting for ${holders}\n`);
}

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    options: { help: { type: "boolean", short: "h" }, destroy: { type: "string", default: "" } },
    allowPositionals: true,
  });
  if (values.help) {
    process.stdout.write(USAGE);
    return;
  }
  const [audience, ...rest] = positionals;
  if (audience === undefined || rest.length > 0) throw new ConfigError("expected one audience");
  const env = readVariables(process.env);
  const rotated = await rotateRing(env, audience, values.destroy, printWaiting);
  process.stdout.write(`${JSON.stringify(rotated)}\n`);
}

if (import.meta.main) main().catch((error: unknown) => fail("rotate", error));
