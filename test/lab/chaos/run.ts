import { setTimeout as delay } from "node:timers/promises";
import { Client } from "pg";
import { CheckoutState } from "#proto/waybill/checkout/v1/checkout_state.ts";
import { Callers } from "../../support/callers/callers.ts";
import { makeClients } from "../../support/clients.ts";
import { startTestCluster } from "../../support/cluster.ts";
import { seededRandom } from "../../support/random.ts";
import { startLossyProxy } from "../fleet/lossyProxy.ts";
import { Faults } from "./faults.ts";
import { HistoryWriter } from "./history.ts";
import { contendForOrders, contendForSessions, type GroupParts } from "./workload.ts";

const GROUPS = 4;
const CLIENTS_A_GROUP = 3;
/** One response in so many is lost. */
const LOSES_ONE_IN = 40;
const TOKEN_LIFE_MS = 120_000;

/** Statistics of a run. */
export interface Run {
  readonly calls: number;
  /** Calls with an unknown outcome. */
  readonly unknown: number;
  readonly lostAnswers: number;
  readonly faults: Readonly<Record<string, number>>;
}

/**
 * Lets clients contend for sessions and orders under faults, and records the history of their calls.
 *
 * @param file receives the history as JSON lines
 * @param tell receives the progress, every ten seconds
 * @param disturb injects faults; default: random ones, one after another
 */
export async function runChaos(
  minutes: number,
  file: string,
  tell: (line: string) => void = () => {},
  disturb: (faults: Faults) => Promise<void> = (faults) => faults.next(),
): Promise<Run> {
  const random = seededRandom();
  const below = (limit: number) => random.below(limit);
  const cluster = await startTestCluster({
    replicas: 3,
    replicaEnv: { WAYBILL_RING_LEASE_S: "10" },
  });
  const history = new HistoryWriter(file);
  let calls = 0;
  let unknown = 0;
  try {
    const proxy = await startLossyProxy(cluster.target, () => below(LOSES_ONE_IN) === 0);
    const callers = new Callers(cluster.target, cluster.status().adminSecretFile);
    const end = Date.now() + minutes * 60_000;
    const isOver = () => Date.now() >= end;
    const faults = new Faults(cluster, below, (delayMs) => proxy.slow(delayMs));
    const people = await Promise.all(Array.from({ length: 2 * GROUPS }, () => callers.person()));
    const groups = people.map(async (person, number) => {
      let token = "";
      let at = Number.NEGATIVE_INFINITY;
      const parts: GroupParts = {
        name: `g${number}`,
        clients: Array.from({ length: CLIENTS_A_GROUP }, () =>
          makeClients(proxy.target, { withJar: false, retries: false }),
        ),
        token: async () => {
          while (performance.now() - at > TOKEN_LIFE_MS) {
            // Postgres may be unavailable for a while.
            const signedIn = await callers.signIn(person).catch(() => delay(200));
            if (signedIn === undefined) continue;
            token = signedIn.accessToken;
            at = performance.now();
          }
          return token;
        },
        below,
        write: (line) => {
          calls += 1;
          if (line.outcome.kind === "unknown") unknown += 1;
          history.write(line);
        },
        isOver,
      };
      await (number < GROUPS ? contendForSessions : contendForOrders)(parts);
      for (const clients of parts.clients) clients.close();
    });
    const disturbing = (async () => {
      for (let told = Date.now(); !isOver(); ) {
        await disturb(faults);
        if (Date.now() - told < 10_000) continue;
        told = Date.now();
        const left = Math.max(0, Math.ceil((end - told) / 1000));
        tell(`${left} s left: ${calls} calls, ${JSON.stringify(faults.done)}`);
      }
    })();
    await Promise.all([...groups, disturbing]);
    callers.close();
    await proxy.close();
    history.write({ orders: await placedOrders(cluster.databaseUrl) });
    return { calls, unknown, lostAnswers: proxy.lost(), faults: faults.done };
  } finally {
    await history.close();
    await cluster.remove();
  }
}

/** The session of each stored order, which the test wrote into its address. */
async function placedOrders(databaseUrl: string): Promise<string[]> {
  const db = new Client({ connectionString: databaseUrl });
  await db.connect();
  const { rows } = await db.query<{ content: Buffer }>('SELECT content FROM checkout."order"');
  await db.end();
  return rows.map(({ content }) => CheckoutState.decode(content).address!.organization);
}
