import { parseArgs } from "node:util";
import { Metadata } from "@grpc/grpc-js";
import { KeysServiceService } from "#proto/waybill/keys/v1/keys.ts";
import { assertService } from "#shared/credentials/assertion.ts";
import { loadCredentials } from "#shared/credentials/credentials.ts";
import { loadTls } from "#shared/credentials/tls.ts";
import { createClient } from "#shared/grpc/client.ts";
import { ConfigError, fail } from "./failure.ts";

const USAGE = `Usage: node services/rotate.ts AUDIENCE [--destroy KEY_ID]

Rotates the ring of an audience, such as checkout, or of what is kept of its sessions, checkout-saved: its standing-by key seals from now on, the key that sealed so far
opens only, and a new one stands by. What was sealed before stays good. Prints the ring's version and
the id of the key that seals, as JSON.

  --destroy KEY_ID   a key that has leaked: what it sealed is refused from now on, and its holders
                     resume their sessions or begin again. The sealer stays, unless it is that key

Environment:
  WAYBILL_CREDENTIALS_DIR   folder with the key of the audience's service (required)
  WAYBILL_KEYS_ADDRESS      gRPC target of the key service (required)
  WAYBILL_TLS_DIR           folder with ca.crt, tls.crt, tls.key; default: plaintext
`;

function required(name: string): string {
  const value = process.env[name];
  if (!value) throw new ConfigError(`${name} is not set`);
  return value;
}

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
  const credentials = loadCredentials(required("WAYBILL_CREDENTIALS_DIR"));
  const target = required("WAYBILL_KEYS_ADDRESS");
  const tlsDir = process.env["WAYBILL_TLS_DIR"];
  const client = createClient(KeysServiceService, target, tlsDir ? loadTls(tlsDir).client : {});
  try {
    const metadata = new Metadata();
    const { path } = KeysServiceService.rotateRing;
    const service = audience.replace(/-saved$/, "");
    metadata.set("authorization", await assertService(credentials, service, path));
    const rotated = await client.rotateRing(
      { audience, destroyKeyId: values.destroy ?? "" },
      { metadata },
    );
    process.stdout.write(`${JSON.stringify(rotated)}\n`);
  } finally {
    client.close();
  }
}

main().catch((error: unknown) => fail("rotate", error));
