import { parseArgs } from "node:util";
import { Metadata, type ServiceError } from "@grpc/grpc-js";
import { readError } from "waybill";
import { loadCredentials, loadTls } from "waybill/auth";
import { createClient } from "waybill/client";
import { KeysServiceService, type RotateRingResponse } from "#proto/waybill/keys/v1/keys.ts";
import { assertService } from "#shared/auth/credentials/assertion.ts";
import { onlyArgument, readVariables, required, type Variables } from "./config/environment.ts";
import { fail } from "./failure.ts";

/** Longer than the default lease, after which a killed replica no longer delays a rotation. */
const RETRY_LIMIT_MS = 60_000;

const USAGE = `Usage: node services/replica/rotate.ts AUDIENCE [--destroy KEY_ID]

Rotates the key ring of an audience, such as checkout, or of its saved responses, checkout-saved: the
pending key becomes the sealing key, the old sealing key only opens, and a new key is pending. Everything
sealed before stays valid. Retries until every replica has acknowledged the pending key: a killed replica
delays the rotation until its lease expires, at most a minute. Prints the ring's version and the id of the
sealing key, as JSON.

  --destroy KEY_ID   destroys a leaked key: replicas refuse everything that it sealed, and clients
                     resume their sessions or begin new ones. The sealing key changes only if it is
                     that key. Waits for no replica; prints those that have not acknowledged within
                     three seconds (unaware): they stop when their leases expire

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
  const until = Date.now() + RETRY_LIMIT_MS;
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

/** Prints the replicas that a rotation waits for on stderr. */
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
  const audience = onlyArgument(positionals, "expected one audience");
  const env = readVariables(process.env);
  const rotated = await rotateRing(env, audience, values.destroy, printWaiting);
  process.stdout.write(`${JSON.stringify(rotated)}\n`);
}

if (import.meta.main) main().catch((error: unknown) => fail("rotate", error));
