import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { Client } from "pg";
import { expect, test } from "vitest";
import { Mode } from "#proto/waybill/options/v1/options.ts";
import { makeSecrets } from "../../deploy/local/credentials.ts";
import { debianProgram } from "../../deploy/local/debian.ts";
import { bearer, Callers } from "../fixtures/callers.ts";
import { makeClients } from "../fixtures/clients.ts";
import { startTestCluster } from "../fixtures/cluster.ts";
import { startPgBouncer } from "../fixtures/pgbouncer.ts";
import { startTestPostgres } from "../fixtures/postgres.ts";
import { crowd } from "../fixtures/shoppers.ts";
import { step } from "../fixtures/step.ts";

const pgbouncer = debianProgram("pgbouncer");
const ROLES = ["identity", "token", "session", "catalog", "checkout"] as const;

test.skipIf(pgbouncer === undefined)(
  "behind PgBouncer in transaction mode everything passes (needs apt)",
  async () => {
    const postgres = await startTestPostgres();
    const dataDir = mkdtempSync(join(tmpdir(), "waybill-test-"));
    const { passwords } = await makeSecrets(join(dataDir, "secrets"));
    const bouncer = await startPgBouncer(pgbouncer!, postgres.url, { ...passwords });
    const urls = ROLES.map((role) => {
      const url = new URL(postgres.url);
      url.username = `waybill_${role}`;
      url.password = passwords[role];
      url.port = `${bouncer.port}`;
      return [`WAYBILL_DATABASE_URL_${role.toUpperCase()}`, url.href];
    });
    const cluster = await startTestCluster({
      dataDir,
      databaseUrl: postgres.url,
      replicaEnv: { ...Object.fromEntries(urls), WAYBILL_DATABASE_PREPARE: "off" },
    });
    // Fewer connections than clients, so that each statement may come by another one.
    const { orders, failures, calls } = await crowd(cluster.target, 8, delay(5000));
    expect(failures).toEqual([]);
    expect(orders.length).toBeGreaterThan(10);

    const callers = new Callers(cluster.target, cluster.status().adminSecretFile);
    const { accessToken: token } = await callers.signIn(await callers.person());
    const { session } = makeClients(cluster.target, { withJar: false });
    const state = { value: { $case: "json" as const, value: { calls } } };
    const begun = await step(
      session.beginSession,
      { state, waybill: undefined, mode: Mode.MODE_ANCHORED },
      { token },
    );
    const { name } = begun.response.session!;
    await step(session.resumeSession, { name }, { token });
    const listed = await session.listSessions({ pageSize: 0, pageToken: "" }, bearer(token));
    expect(listed.sessions).toMatchObject([{ name }]);
    session.close();
    callers.close();

    const db = new Client({ connectionString: postgres.url });
    await db.connect();
    // By way of the pooler, and no other: it keeps four connections a role.
    const { rows } = await db.query(
      "SELECT count(*)::int FROM pg_stat_activity WHERE usename = 'waybill_checkout'",
    );
    expect(rows[0].count).toBeLessThanOrEqual(4);
    await db.end();
    await cluster.remove();
    await bouncer.stop();
    await postgres.remove();
  },
);
