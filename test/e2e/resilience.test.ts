import { setTimeout as delay } from "node:timers/promises";
import { Client } from "pg";
import { afterEach, beforeEach, expect, test } from "vitest";
import { shop } from "../support/callers/shopper.ts";
import { crowd } from "../support/callers/shoppers.ts";
import { makeClients } from "../support/clients.ts";
import { startTestCluster, type TestCluster } from "../support/cluster.ts";
import { refusal } from "../support/refusal.ts";
import { waitFor } from "../support/waitFor.ts";

let cluster: TestCluster;

beforeEach(async () => {
  // Connections end often, so that every test also covers reconnects.
  cluster = await startTestCluster({ replicaEnv: { WAYBILL_MAX_CONNECTION_AGE_MS: "2000" } });
});
afterEach(() => cluster.remove());

async function query(text: string): Promise<Record<string, unknown>[]> {
  const db = new Client({ connectionString: cluster.databaseUrl });
  await db.connect();
  const { rows } = await db.query(text);
  await db.end();
  return rows;
}

/** Checks that every acknowledged order is stored, and its stock taken, exactly once. */
async function expectExactlyOnce(acknowledged: readonly string[]): Promise<void> {
  expect(new Set(acknowledged).size).toBe(acknowledged.length);
  const rows = await query('SELECT id FROM checkout."order"');
  const kept = rows.map(({ id }) => `orders/${id}`);
  expect(kept.sort()).toEqual([...acknowledged].sort());
  const [taken] = await query(
    "SELECT sum(checkout.initial_stock(product_id) - available)::int AS pieces FROM checkout.stock",
  );
  // Each shopper buys one piece.
  expect(taken).toEqual({ pieces: acknowledged.length });
}

test("killed replicas cause no failed, lost or duplicate order", async () => {
  const kills = (async () => {
    for (let kill = 0; kill < 10; kill += 1) {
      const { replicas } = cluster.status();
      const victim = replicas[kill % replicas.length]!;
      process.kill(victim.pid, "SIGKILL");
      // Kill the next replica when this one's successor serves.
      await untilReplaced(victim);
    }
  })();
  const { orders, failures } = await crowd(cluster.target, 8, kills);
  expect(failures).toEqual([]);
  expect(orders.length).toBeGreaterThan(10);
  await expectExactlyOnce(orders);
});

const untilReplaced = (gone: { number: number; pid: number }) =>
  waitFor(`the successor of replica ${gone.number}`, () =>
    cluster.status().replicas.some(({ number, pid }) => number === gone.number && pid !== gone.pid),
  );

test("another replica serves after a kill between two calls", async () => {
  const clients = makeClients(cluster.target);
  const order = await shop(clients, 500, async (step) => {
    if (step % 3 !== 0) return;
    const before = cluster.status().replicas[step % 2]!;
    process.kill(before.pid, "SIGKILL");
    await untilReplaced(before);
  });
  clients.close();
  await expectExactlyOnce([order.name]);
});

test("scale 2, 4, 1 under load fails no call", async () => {
  const scaling = (async () => {
    await cluster.scale(4);
    const serving = "SELECT DISTINCT replica FROM checkout.advance";
    await waitFor("four replicas to serve", async () => (await query(serving)).length === 4);
    await cluster.scale(1);
    const placed = async () => (await query('SELECT FROM checkout."order"')).length;
    const before = await placed();
    await waitFor("orders after the scaling", async () => (await placed()) >= before + 16);
  })();
  const { orders, failures, calls } = await crowd(cluster.target, 8, scaling);
  expect(failures).toEqual([]);
  expect(calls).toBeGreaterThan(100);
  expect(cluster.status().replicas).toHaveLength(1);
  await expectExactlyOnce(orders);
});

test("sessions work without Postgres; orders are refused, then placed", async () => {
  const clients = makeClients(cluster.target);
  await clients.session.beginSession({ state: json({ step: 1 }), waybill: undefined });
  await clients.checkout.beginCheckout({});

  const database = cluster.embeddedDatabase()!;
  await database.stop();
  // Retries would continue until the call's deadline.
  const bare = makeClients(cluster.target, { withJar: false, retries: false });
  const { code, reason } = await refusal(bare.catalog.getProduct({ name: "products/9" }));
  expect({ code, reason }).toEqual({ code: 14, reason: "DATABASE_UNAVAILABLE" });
  for (let step = 2; step < 50; step += 1) {
    await clients.session.advanceSession({ state: json({ step }), waybill: undefined });
    await clients.checkout.getCheckout({});
  }
  const { state } = await clients.session.openSession({ waybill: undefined });
  expect(state).toMatchObject(json({ step: 49 }));
  await database.start();

  const order = await shop(makeClients(cluster.target), 700);
  expect(order.name).toMatch(/^orders\//);
  bare.close();
  clients.close();
});

function json(value: Record<string, unknown>) {
  return { value: { $case: "json" as const, value } };
}

test("connections that reach their maximum age fail no call", async () => {
  const { failures, calls } = await crowd(cluster.target, 8, delay(10_000));
  expect(failures).toEqual([]);
  expect(calls).toBeGreaterThan(1000);
});
