import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import {
  type ClientReadableStream,
  credentials as grpcCredentials,
  loadPackageDefinition,
  Metadata,
  type ServiceClientConstructor,
} from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import { afterAll, beforeAll, expect, test } from "vitest";
import { KeysServiceService } from "#proto/waybill/keys/v1/keys.ts";
import { SessionServiceService } from "#proto/waybill/session/v1/session.ts";
import { assertService } from "#shared/credentials/assertion.ts";
import { loadCredentials } from "#shared/credentials/credentials.ts";
import { readError } from "#shared/errors/errors.ts";
import { createClient, type ServiceClient } from "#shared/grpc/client.ts";
import { type ReplicasApart, startReplicasApart } from "../fixtures/apart.ts";
import { refusal } from "../fixtures/refusal.ts";
import { step } from "../fixtures/step.ts";

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

/** What a replica says of itself, as it changes: as a load balancer or a kubelet hears it. */
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
  for (;;) {
    const { value } = await health.next();
    if (value === wanted) return;
  }
}

/** Rotates the sessions' ring. */
async function rotate() {
  const keys = createClient(KeysServiceService, apart.keysAddress);
  const metadata = new Metadata();
  const { path } = KeysServiceService.rotateRing;
  const credentials = loadCredentials(apart.credentialsDir);
  metadata.set("authorization", await assertService(credentials, "session", path));
  try {
    return await keys.rotateRing({ audience: "session", destroyKeyId: "" }, { metadata });
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

test("a replica that cannot reach the key service seals nothing once another key may seal, and comes back", async () => {
  const [cut] = apart.replicas;
  const health = healthOf(cut!.address);
  await until(health, "SERVING");
  const before = await begin(0);

  cut!.way.cut();
  // The key that stood by is known to it, whether or not it hears that it seals now.
  const first = await rotate();
  const still = await begin(0);
  expect(keyOf(still)).toBe(keyOf(before));
  await open(1, still);
  let after = await begin(1);
  while (keyOf(after) !== first.activeKeyId) after = await begin(1);
  await open(0, after);
  // The next one is not: as long as the replica may seal, and so is called, that seals nothing.
  const pending = await refusal(rotate());
  expect(pending.reason).toBe("ROTATION_PENDING");
  expect(pending.metadata["holders"]).toContain(`/${process.pid}/`);
  let rotated: Awaited<ReturnType<typeof rotate>> | undefined;
  while (rotated === undefined) {
    rotated = await rotate().catch((error) => {
      if (readError(error).reason !== "ROTATION_PENDING") throw error;
      return undefined;
    });
  }
  await until(health, "NOT_SERVING");
  expect((await refusal(begin(0))).reason).toBe("KEYS_UNAVAILABLE");
  // What it can open, it does.
  for (const waybill of [before, still, after]) await open(0, waybill);
  // Of a key that it cannot know it says so, and not that the waybill is bad.
  for (let n = 0; n < 2; n += 1) rotated = await rotate();
  while (keyOf(after) !== rotated.activeKeyId) after = await begin(1);
  expect((await refusal(open(0, after))).reason).toBe("KEYS_UNAVAILABLE");

  cut!.way.mend();
  await until(health, "SERVING");
  const again = await begin(0);
  expect(keyOf(again)).toBe(rotated.activeKeyId);
  for (const waybill of [before, still, after, again]) await open(1, waybill);
  await health.return(undefined);
});
