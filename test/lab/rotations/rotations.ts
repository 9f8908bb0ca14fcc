import { join } from "node:path";
import { Metadata, type ServiceError } from "@grpc/grpc-js";
import { KeysServiceService } from "#proto/waybill/keys/v1/keys.ts";
import { assertService } from "#shared/auth/credentials/assertion.ts";
import { loadCredentials } from "#shared/auth/credentials/credentials.ts";
import { createClient } from "#shared/client/client.ts";
import { readError } from "#shared/errors.ts";
import { makeClients } from "../../support/clients.ts";
import { startTestCluster } from "../../support/cluster.ts";
import { seededRandom } from "../../support/random.ts";
import { refusal } from "../../support/refusal.ts";
import { step } from "../../support/step.ts";
import { waitFor } from "../../support/waitFor.ts";
import { Faults } from "../chaos/faults.ts";

/** A replica is killed once in so many rotations. */
const ROTATIONS_A_KILL = 20;

/** What a run was. */
export interface RotationsReport {
  readonly rotations: number;
  readonly kills: number;
  /** How often a rotation was put off, because somebody had not acknowledged a key. */
  readonly waits: number;
  /** Keys that have sealed something: every one of them. */
  readonly keys: number;
  /** Calls that were refused, by their reason, during the rotations and at the end. */
  readonly refused: Readonly<Record<string, number>>;
}

/**
 * Rotates the ring of checkout again and again, asking one replica or another, while clients begin
 * checkouts and read earlier ones through the front proxy and replicas are killed; in the end has every
 * replica open a waybill of every key.
 *
 * @param tell hears of the progress, every five seconds
 */
export async function runRotations(
  rotations: number,
  tell: (line: string) => void = () => {},
): Promise<RotationsReport> {
  const random = seededRandom();
  const cluster = await startTestCluster({
    replicas: 3,
    replicaEnv: { WAYBILL_RING_LEASE_S: "5" },
  });
  const faults = new Faults(cluster, (limit) => random.below(limit));
  const credentials = loadCredentials(join(cluster.dataDir, "secrets", "credentials"));
  const clients = makeClients(cluster.target, { withJar: false });
  const byKey = new Map<string, string>();
  const refused: Record<string, number> = {};
  let kills = 0;
  let waits = 0;
  const noting = async (call: Promise<unknown>): Promise<void> => {
    if (
      await call.then(
        () => true,
        () => false,
      )
    )
      return;
    const { reason, code } = await refusal(call);
    refused[reason || `${code}`] = (refused[reason || `${code}`] ?? 0) + 1;
  };
  const begin = async (): Promise<void> => {
    const { waybill } = await step(clients.checkout.beginCheckout, {});
    const header = Buffer.from(waybill!.slice(0, waybill!.indexOf(".")), "base64url").toString();
    byKey.set((JSON.parse(header) as { kid: string }).kid.slice(0, 11), waybill!);
  };
  const read = (waybill: string) => step(clients.checkout.getCheckout, {}, { waybill });
  const rotate = async (): Promise<string> => {
    const { replicas } = cluster.status();
    const { address } = replicas[random.below(replicas.length)]!;
    const client = createClient(KeysServiceService, address);
    const { path } = KeysServiceService.rotateRing;
    const request = { audience: "checkout", destroyKeyId: "" };
    try {
      for (;;) {
        const metadata = new Metadata();
        metadata.set("authorization", await assertService(credentials, "checkout", path));
        try {
          return (await client.rotateRing(request, { metadata })).activeKeyId;
        } catch (error) {
          // One that was killed is waited for until its lease has run out.
          if (readError(error as ServiceError).reason !== "ROTATION_PENDING") throw error;
          waits += 1;
        }
      }
    } finally {
      client.close();
    }
  };
  let told = Date.now();
  for (let done = 0; done < rotations; done += 1) {
    const sealer = await rotate();
    // At once, under the key before or under this one, and until a replica has sealed under this one.
    await waitFor(`a replica to seal under ${sealer}`, async () => {
      await Promise.all([noting(begin()), noting(begin())]);
      return byKey.has(sealer);
    });
    const known = [...byKey.values()];
    await Promise.all(
      Array.from({ length: 4 }, () => noting(read(known[random.below(known.length)]!))),
    );
    if (done % ROTATIONS_A_KILL === ROTATIONS_A_KILL - 1) {
      await faults.kill();
      kills += 1;
    }
    if (Date.now() - told < 5000) continue;
    told = Date.now();
    tell(`${done + 1} of ${rotations} rotations, ${byKey.size} keys, ${JSON.stringify(refused)}`);
  }
  for (const { address } of cluster.status().replicas) {
    const direct = makeClients(address, { withJar: false });
    for (const waybill of byKey.values()) {
      await noting(step(direct.checkout.getCheckout, {}, { waybill }));
    }
    direct.close();
  }
  clients.close();
  await cluster.remove();
  return { rotations, kills, waits, keys: byKey.size, refused };
}
