import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import {
  type ClientReadableStream,
  credentials as grpcCredentials,
  loadPackageDefinition,
  Metadata,
  type ServiceClientConstructor,
} from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import { pino } from "pino";
import { afterAll, beforeAll, expect, test } from "vitest";
import { KeysServiceService } from "#proto/waybill/keys/v1/keys.ts";
import { SessionServiceService } from "#proto/waybill/session/v1/session.ts";
import { assertService } from "#shared/auth/credentials/assertion.ts";
import { loadCredentials } from "#shared/auth/credentials/credentials.ts";
import { createClient, type ServiceClient } from "#shared/client/client.ts";
import { readError } from "#shared/errors.ts";
import { makeOneTimeKey } from "#shared/rings/sealedRing.ts";
import { type Config, readConfig } from "../../services/replica/config/config.ts";
import { startReplica } from "../../services/replica/replica.ts";
import { refusal, untilRefused } from "../support/refusal.ts";
import { type ReplicasApart, startReplicasApart } from "../support/servers/apart.ts";
import { step } from "../support/step.ts";
import { waitFor } from "../support/waitFor.ts";

let apart: ReplicasApart;
const sessions: ServiceClient<typeof SessionServiceService>[] = [];
beforeAll(async () => {
  apart = await startReplicasApart(2, { WAYBILL_RING_LEASE_S: "5" });
  for (const { address } of apart.replicas) {
    const channel = { "grpc.use_local_subchannel_pool": 1 };
    sessions.push(createClient(SessionServiceService, address, { channel }));
  }
});
afterAll(async () => {
  for (const client of sessions) client.close();
  await apart?.remove();
});

/** Watches the health of a replica, as a load balancer or a kubelet does. */
async function* healthOf(address: string): AsyncGenerator<string> {
  const folder = dirname(createRequire(import.meta.url).resolve("grpc-health-check/package.json"));
  const definition = loadSync(join(folder, "proto/health/v1/health.proto"), { enums: String });
  const { Health } = (
    loadPackageDefinition(definition) as unknown as {
      grpc: { health: { v1: { Health: ServiceClientConstructor } } };
    }
  ).grpc.health.v1;
  const client = new Health(address, grpcCredentials.createInsecure());
  const stream = client["watch"]!({ service: "" }) as ClientReadableStream<{ status: string }>;
  stream.on("error", () => {});
  try {
    for await (const { status } of stream) yield status;
  } finally {
    stream.cancel();
    client.close();
  }
}

async function until(health: AsyncGenerator<string>, wanted: string): Promise<void> {
  await waitFor(`the health ${wanted}`, async () => (await health.next()).value === wanted);
}

/** Rotates the sessions' ring, or destroys a key of it. */
async function rotate(destroyKeyId = "") {
  const keys = createClient(KeysServiceService, apart.keysAddress);
  const metadata = new Metadata();
  const { path } = KeysServiceService.rotateRing;
  const credentials = loadCredentials(apart.credentialsDir);
  metadata.set("authorization", await assertService(credentials, "session", path));
  try {
    return await keys.rotateRing({ audience: "session", destroyKeyId }, { metadata });
  } finally {
    keys.close();
  }
}

const state = { value: { $case: "json", value: {} } } as const;
const begin = async (replica: number) =>
  (await step(sessions[replica]!.beginSession, { state, waybill: undefined })).waybill!;
const open = (replica: number, waybill: string) =>
  step(sessions[replica]!.openSession, { waybill: undefined }, { waybill });
const keyOf = (waybill: string) =>
  JSON.parse(Buffer.from(waybill.split(".")[0]!, "base64url").toString()).kid.split(".")[0];

test("an isolated replica stops sealing before another key seals", async () => {
  const [cut] = apart.replicas;
  const health = healthOf(cut!.address);
  await until(health, "SERVING");
  const before = await begin(0);

  cut!.way.cut();
  // The replica knows the standby key, even if it does not receive the rotation.
  const first = await rotate();
  const still = await begin(0);
  expect(keyOf(still)).toBe(keyOf(before));
  await open(1, still);
  /** Begins sessions until one is sealed with the key. */
  const beginWith = (keyId: string) =>
    waitFor(`replica 1 to seal with ${keyId}`, async () => {
      const waybill = await begin(1);
      return keyOf(waybill) === keyId && waybill;
    });
  let after = await beginWith(first.activeKeyId);
  await open(0, after);
  // The replica does not know the next key: while its lease lasts, that key seals nothing.
  const pending = await refusal(rotate());
  expect(pending.reason).toBe("ROTATION_PENDING");
  expect(pending.metadata["holders"]).toContain(`/${process.pid}/`);
  let rotated = await waitFor("the lease to expire", () =>
    rotate().catch((error) => {
      if (readError(error).reason !== "ROTATION_PENDING") throw error;
      return undefined;
    }),
  );
  await until(health, "NOT_SERVING");
  expect((await refusal(begin(0))).reason).toBe("KEYS_UNAVAILABLE");
  // It cannot open waybills either, whether it knows their key or not.
  for (let n = 0; n < 2; n += 1) rotated = await rotate();
  after = await beginWith(rotated.activeKeyId);
  for (const waybill of [before, still, after]) {
    expect((await refusal(open(0, waybill))).reason).toBe("KEYS_UNAVAILABLE");
  }

  cut!.way.mend();
  await until(health, "SERVING");
  const again = await begin(0);
  expect(keyOf(again)).toBe(rotated.activeKeyId);
  for (const waybill of [before, still, after, again]) await open(1, waybill);
  await health.return(undefined);
});

test("a destroyed key is refused by lease expiry", async () => {
  const [cut] = apart.replicas;
  const health = healthOf(cut!.address);
  await until(health, "SERVING");
  const waybill = await begin(1);
  await open(0, waybill);

  cut!.way.cut();
  const { activeKeyId, unaware } = await rotate(keyOf(waybill));
  expect(activeKeyId).not.toBe(keyOf(waybill));
  expect(unaware).toHaveLength(1);
  expect((await refusal(open(1, waybill))).reason).toBe("WAYBILL_REVOKED");
  await until(health, "NOT_SERVING");
  // The replica has the key, and has opened this waybill before. Its other leases may expire first.
  expect((await untilRefused(() => open(0, waybill))).reason).toBe("KEYS_UNAVAILABLE");

  cut!.way.mend();
  await until(health, "SERVING");
  expect((await refusal(open(0, waybill))).reason).toBe("WAYBILL_REVOKED");
  await health.return(undefined);
});

test("a lease requires the revision that its holder reads", async () => {
  const keys = createClient(KeysServiceService, apart.keysAddress);
  const credentials = loadCredentials(apart.credentialsDir);
  const { publicJwk } = await makeOneTimeKey();
  const { path } = KeysServiceService.renewLease;
  const metadata = new Metadata();
  metadata.set("authorization", await assertService(credentials, "session", path, publicJwk));
  const asked = { audience: "session", holder: "one", acknowledgedVersion: 0, readsRevision: 0 };
  const { reason, violations } = await refusal(keys.renewLease(asked, { metadata }));
  expect([reason, violations[0]?.field]).toEqual(["INVALID_FIELD", "reads_revision"]);
  keys.close();
});

test("a wrong key-encryption key keeps the key service unready", async () => {
  const folder = mkdtempSync(join(tmpdir(), "waybill-keys-"));
  const file = join(folder, "key-encryption-key");
  writeFileSync(file, randomBytes(32).toString("base64url"));
  const env = {
    WAYBILL_CREDENTIALS_DIR: apart.credentialsDir,
    WAYBILL_KEY_ENCRYPTION_KEY_FILE: file,
    WAYBILL_DATABASE_URL_KEYS: apart.databaseUrl,
  };
  const tries = Promise.withResolvers<void>();
  const said: string[] = [];
  const log = pino(
    { level: "warn" },
    {
      write(line: string) {
        said.push(line);
        if (said.filter((each) => each.includes("failed; will retry")).length > 1) {
          tries.resolve();
        }
      },
    },
  );
  const replica = await startReplica(readConfig(["--roles", "keys"], env) as Config, log);
  // The replica has tried every address, and will retry.
  const first = [replica.ready.then(() => "ready"), tries.promise.then(() => "tries again")];
  expect(await Promise.race(first)).toBe("tries again");
  const health = healthOf(replica.address);
  expect((await health.next()).value).toBe("NOT_SERVING");
  await health.return(undefined);
  const errors = said.filter((line) => JSON.parse(line).level === 50);
  for (const audience of ["session", "token"]) {
    expect(errors[0]).toContain(`the ring of ${audience}`);
  }
  expect(errors[0]).toContain(" is wrapped with ");
  await replica.stop();
  rmSync(folder, { recursive: true });
});
