import { setTimeout as delay } from "node:timers/promises";
import type { ServiceError } from "@grpc/grpc-js";
import { SessionServiceService } from "#proto/waybill/session/v1/session.ts";
import { readError } from "#shared/errors/errors.ts";
import { createClient } from "#shared/grpc/client.ts";
import { bearer, Callers } from "../fixtures/callers.ts";
import { startTestCluster } from "../fixtures/cluster.ts";

const REVOCATIONS = 300;
const REPLICAS = 3;

/** From a revocation to its being refused on every replica. */
export async function revocation(): Promise<void> {
  const cluster = await startTestCluster({ replicas: REPLICAS });
  const callers = new Callers(cluster.target, cluster.status().adminSecretFile);
  const sessions = cluster.status().replicas.map(({ address }) =>
    createClient(SessionServiceService, address, {
      channel: { "grpc.use_local_subchannel_pool": 1 },
    }),
  );
  const { client } = await callers.account();
  const state = { value: { $case: "json", value: {} } } as const;
  const acknowledged: number[] = [];
  const everywhere: number[] = [];
  for (let count = 0; count < REVOCATIONS; count += 1) {
    const { accessToken } = await callers.grant(client);
    const uses = sessions.map(
      (session) => () => session.beginSession({ state, waybill: undefined }, bearer(accessToken)),
    );
    await Promise.all(uses.map((use) => use()));
    const startedAt = performance.now();
    const refused = uses.map(async (use) => {
      for (;;) {
        const isServed = await use().then(
          () => true,
          () => false,
        );
        if (!isServed) return performance.now() - startedAt;
      }
    });
    await callers.token.revoke({ client, token: accessToken });
    acknowledged.push(performance.now() - startedAt);
    everywhere.push(Math.max(...(await Promise.all(refused))));
  }
  for (const [what, figures] of [
    ["until it is acknowledged", acknowledged],
    [`until ${REPLICAS} replicas refuse, under calls`, everywhere],
  ] as const) {
    const sorted = figures.toSorted((a, b) => a - b);
    const at = (share: number) => sorted[Math.floor((sorted.length - 1) * share)]!.toFixed(1);
    console.log(`  ${what.padEnd(46)} p50 ${at(0.5)} ms, p99 ${at(0.99)} ms, worst ${at(1)} ms`);
  }
  const { accessToken } = await callers.grant(client);
  const cutAt = performance.now();
  await cluster.embeddedDatabase()!.stop();
  // Nothing can be read of the feed now: each replica goes on for its bound, and no longer.
  const seconds = await Promise.all(
    sessions.map(async (session) => {
      for (;;) {
        const reason = await session
          .beginSession({ state, waybill: undefined }, bearer(accessToken))
          .then(
            () => "",
            (error: ServiceError) => readError(error).reason,
          );
        if (reason === "REVOCATIONS_STALE") return (performance.now() - cutAt) / 1000;
        await delay(50);
      }
    }),
  );
  await cluster.embeddedDatabase()!.start();
  const [first, last] = [Math.min(...seconds), Math.max(...seconds)];
  console.log(
    `  ${"cut off from the feed, until they refuse all".padEnd(46)} ${first.toFixed(1)} to ${last.toFixed(1)} s`,
  );
  for (const session of sessions) session.close();
  callers.close();
  await cluster.remove();
}
