import { setTimeout as delay } from "node:timers/promises";
import type { ServiceError } from "@grpc/grpc-js";
import { readError } from "waybill";
import { createClient } from "waybill/client";
import { SessionServiceService } from "#proto/waybill/session/v1/session.ts";
import { bearer, Callers } from "../../support/callers/callers.ts";
import { startTestCluster } from "../../support/cluster.ts";
import type { Suite } from "./bench.ts";

const REVOCATIONS = 300;
const REPLICAS = 3;

export const revocation: Suite = {
  about: "Time from a revocation until every replica refuses the token.",
  async run(bench) {
    const starting = startTestCluster({ replicas: REPLICAS });
    const cluster = await bench.own("the cluster", starting, (each) => each.remove());
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
    bench.step("revoking");
    for (let count = 0; count < bench.calls(REVOCATIONS); count += 1) {
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
    const rows = {
      "until acknowledged": acknowledged,
      [`until ${REPLICAS} replicas refuse, under calls`]: everywhere,
    };
    const at = (figures: number[], share: number) =>
      figures.toSorted((a, b) => a - b)[Math.floor((figures.length - 1) * share)]!;
    bench.results.table(
      "revocations",
      ["p50", "p99", "worst"].map((name) => ({ name, unit: "ms" })),
      Object.entries(rows).map(([name, each]) => [
        name,
        { p50: [at(each, 0.5)], p99: [at(each, 0.99)], worst: [at(each, 1)] },
      ]),
    );
    bench.step("cutting the feed off: half a minute");
    const { accessToken } = await callers.grant(client);
    const cutAt = performance.now();
    await cluster.embeddedDatabase()!.stop();
    // The feed cannot be read: each replica serves until its staleness bound.
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
    bench.results.list("cut off from the feed", "s", {
      "until every replica refuses all tokens": seconds,
    });
    for (const session of sessions) session.close();
    callers.close();
  },
};
