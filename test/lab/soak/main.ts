/**
 * Combines faults for longer than a test may take: clients shop while replicas are killed, added and removed,
 * connections reach their maximum age, and rings rotate. No call may fail; every acknowledged order must exist
 * once and take its stock once.
 *
 * Usage: npm run soak [-- MINUTES]   default: 3; the environment variable SEED repeats a run
 */
import { Client } from "pg";
import { crowd } from "../../support/callers/shoppers.ts";
import { startTestCluster, type TestCluster } from "../../support/cluster.ts";
import { seededRandom } from "../../support/random.ts";
import { waitFor } from "../../support/waitFor.ts";

const SHOPPERS = 8;
const AUDIENCES = ["session", "catalog", "checkout"];

const minutes = Number(process.argv[2] ?? 3);
if (!(minutes > 0 && minutes <= 120)) {
  console.error(`MINUTES ${process.argv[2]}: expected a number up to 120`);
  process.exit(2);
}
const random = seededRandom();
const cluster = await startTestCluster({ replicaEnv: { WAYBILL_MAX_CONNECTION_AGE_MS: "2000" } });
const end = Date.now() + minutes * 60_000;
const done: Record<string, number> = { kill: 0, scale: 0, rotate: 0 };
const { orders, calls, failures } = await crowd(cluster.target, SHOPPERS, disturb());
const faults = [...failures, ...(await wrongOrders(cluster, orders))];
await cluster.remove();

console.log(`${calls} calls, ${orders.length} orders; ${JSON.stringify(done)}`);
for (const [fault, count] of tally(faults)) console.log(`${count} × ${fault}`);
console.log(faults.length === 0 ? "no call failed; every order exists exactly once" : "FAILED");
process.exit(faults.length === 0 ? 0 : 1);

/** Injects one fault after another until the time is over. */
async function disturb(): Promise<void> {
  for (let told = Date.now(); Date.now() < end; ) {
    const what = ["kill", "kill", "scale", "rotate"][random.below(4)]!;
    done[what]! += 1;
    if (what === "kill") await kill();
    else if (what === "scale") await cluster.scale(2 + random.below(3));
    else await cluster.rotate(AUDIENCES[random.below(AUDIENCES.length)]!);
    if (Date.now() - told > 10_000) {
      told = Date.now();
      console.log(`${Math.ceil((end - told) / 1000)} s left: ${JSON.stringify(done)}`);
    }
  }
}

/** Kills a replica and waits for its successor, so that other replicas always serve. */
async function kill(): Promise<void> {
  const { replicas } = cluster.status();
  const victim = replicas[random.below(replicas.length)]!;
  process.kill(victim.pid, "SIGKILL");
  const isBack = () =>
    cluster
      .status()
      .replicas.some(({ number, pid }) => number === victim.number && pid !== victim.pid);
  await waitFor(`replica ${victim.number} to be replaced`, isBack);
}

/** Lists faults of the orders and the stock in Postgres. */
async function wrongOrders(
  { databaseUrl }: TestCluster,
  acknowledged: readonly string[],
): Promise<string[]> {
  const db = new Client({ connectionString: databaseUrl });
  await db.connect();
  const { rows } = await db.query<{ id: string }>('SELECT id FROM checkout."order"');
  const { rows: stock } = await db.query<{ pieces: number }>(
    "SELECT sum(checkout.initial_stock(product_id) - available)::int AS pieces FROM checkout.stock",
  );
  await db.end();
  const kept = new Set(rows.map(({ id }) => `orders/${id}`));
  const wrong = acknowledged.filter((name) => !kept.has(name)).map(() => "an order was lost");
  if (new Set(acknowledged).size !== acknowledged.length)
    wrong.push("two calls were acknowledged with the same order");
  if (kept.size !== acknowledged.length) {
    wrong.push(`found ${kept.size} orders, expected the ${acknowledged.length} acknowledged ones`);
  }
  // Each shopper buys one piece.
  if (stock[0]?.pieces !== kept.size)
    wrong.push(`${stock[0]?.pieces} pieces were taken from the stock, expected ${kept.size}`);
  return wrong;
}

function tally(lines: readonly string[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const line of lines) counts.set(line, (counts.get(line) ?? 0) + 1);
  return counts;
}
