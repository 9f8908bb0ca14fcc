import { parseArgs } from "node:util";
import { Metadata, type ServiceError } from "@grpc/grpc-js";
import { KeysServiceService, type RotateRingResponse } from "#proto/waybill/keys/v1/keys.ts";
import { assertService } from "#shared/auth/credentials/assertion.ts";
import { loadCredentials } from "#shared/auth/credentials/credentials.ts";
import { loadTls } from "#shared/auth/credentials/tls.ts";
import { createClient } from "#shared/client/client.ts";
import { readError } from "#shared/errors.ts";
import { readVariables, requireVariable } from "./environment.ts";
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

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    options: { help: { type: "boolean", short: "h" }, destroy: { type: "string" } },
    allowPositionals: true,
  });
  if (values.help) {
    process.stdout.write(USAGE);
    return;
  }
  const [audience, ...rest] = positionals;
  if (audience === undefined || rest.length > 0) throw new ConfigError("expected one audience");
  const env = readVariables(process.env);
  const credentials = loadCredentials(requireVariable(env, "WAYBILL_CREDENTIALS_DIR"));
  const target = requireVariable(env, "WAYBILL_KEYS_ADDRESS");
  const tlsDir = env["WAYBILL_TLS_DIR"];
  const client = createClient(KeysServiceService, target, tlsDir ? loadTls(tlsDir).client : {});
  try {
    const { path } = KeysServiceService.rotateRing;
    const service = audience.replace(/-saved$/, "");
    const rotate = async (): Promise<RotateRingResponse> => {
      const metadata = new Metadata();
      metadata.set("authorization", await assertService(credentials, service, path));
      return client.rotateRing({ audience, destroyKeyId: values.destroy ?? "" }, { metadata });
    };
    const until = Date.now() + PATIENCE_MS;
    const rotated = await repeating(rotate, until);
    process.stdout.write(`${JSON.stringify(rotated)}\n`);
  } finally {
    client.close();
  }
}

/** Repeats what was not done because somebody has not acknowledged yet. */
async function repeating(
  rotate: () => Promise<RotateRingResponse>,
  until: number,
): Promise<RotateRingResponse> {
  for (let waited = ""; ; ) {
    try {
      return await rotate();
    } catch (error) {
      const { reason, metadata } = readError(error as ServiceError);
      if (reason !== "ROTATION_PENDING" || Date.now() > until) throw error;
      const holders = metadata["holders"] ?? "";
      if (holders !== waited) process.stderr.write(`waiting for ${holders}\n`);
      waited = holders;
    }
  }
}

main().catch((error: unknown) => fail("rotate", error));
