import { InterceptingCall, type Interceptor, status } from "@grpc/grpc-js";
import { Client } from "pg";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { Mode } from "#proto/waybill/options/v1/options.ts";
import { SessionServiceService, type SessionState } from "#proto/waybill/session/v1/session.ts";
import { Anchors, MAX_SAVED_RESPONSES } from "#shared/anchors/anchors.ts";
import { createClient } from "#shared/client/client.ts";
import { Jar } from "#shared/client/jar/jar.ts";
import { MemoryStore } from "#shared/client/jar/stores.ts";
import type { Contract } from "#shared/contract/contract.ts";
import { createPool, type Pool } from "#shared/pg/pool.ts";
import { newUuid } from "#shared/runtime/ids.ts";
import type { Server } from "#shared/server/server.ts";
import { startLossyProxy } from "../lab/fleet/lossyProxy.ts";
import { contract, makeClients } from "../support/clients.ts";
import { migratedPostgres, type TestPostgres } from "../support/postgres.ts";
import { refusal } from "../support/refusal.ts";
import { makeRings, serveSessions } from "../support/servers/anchoredServer.ts";
import { step } from "../support/step.ts";

const DIGEST = Buffer.alloc(32, 7);
const NO_FIELDS = { waybill: undefined };

let postgres: TestPostgres;
let pool: Pool;
const rings = makeRings();
const servers: Server[] = [];
const closing: { close(): void }[] = [];
beforeAll(async () => {
  postgres = await migratedPostgres();
  pool = createPool(postgres.url, { max: 5, name: "anchors" });
});
afterEach(async () => {
  for (const clients of closing.splice(0)) clients.close();
  for (const server of servers.splice(0)) await server.drain();
});
afterAll(async () => {
  await pool?.end();
  await postgres?.remove();
});

type Options = Parameters<typeof serveSessions>[2];

async function serve(options?: Options) {
  const served = await serveSessions(pool, rings, options);
  servers.push(served.server);
  return served;
}

const state = (value: string): SessionState => ({ value: { $case: "json", value: { value } } });
const begun = { state: state("begun"), waybill: undefined, mode: Mode.MODE_ANCHORED };
const versions = async () =>
  (await pool.query("SELECT version FROM session.anchor ORDER BY session_id DESC")).rows.map(
    ({ version }) => version as number,
  );

test.each([Mode.MODE_CARRIED, Mode.MODE_ANCHORED])(
  "a state nested too deep is refused: mode %i",
  async (mode) => {
    const deep = (lists: number): SessionState => {
      let value: unknown = 1;
      for (let list = 0; list < lists; list += 1) value = [value];
      return { value: { $case: "json", value: { value } } };
    };
    let lists = 60;
    const { target } = await serve({
      handlers: {
        async beginSession({ mode: wanted }, { session }) {
          session.anchored = wanted === Mode.MODE_ANCHORED;
          session.state = deep(lists);
          return { session: undefined, waybill: undefined };
        },
        async advanceSession(_request, { session }) {
          session.state = deep(lists);
          return { session: undefined, waybill: undefined };
        },
      },
    });
    const clients = makeClients(target, { withJar: false, retries: false });
    closing.push(clients);
    const begin = () => step(clients.session.beginSession, { ...begun, mode });
    const advance = (waybill: string | undefined) =>
      step(
        clients.session.advanceSession,
        { state: state("next"), waybill: undefined },
        { waybill },
      );
    const TOO_DEEP = { code: status.FAILED_PRECONDITION, reason: "STATE_TOO_DEEP" };
    const before = await versions();
    expect(await refusal(begin())).toMatchObject(TOO_DEEP);
    expect(await versions()).toEqual(before);
    lists = 1;
    const { waybill } = await begin();
    lists = 60;
    expect(await refusal(advance(waybill))).toMatchObject(TOO_DEEP);
    // The earlier waybill is still current and opens.
    lists = 2;
    const next = await advance(waybill);
    const opened = await step(clients.session.openSession, NO_FIELDS, next);
    expect(opened.response).toMatchObject({ session: { version: 2 }, state: deep(2) });
  },
);

describe("a handler's transaction", () => {
  /** Runs an advance with this handler. @returns its outcome */
  async function advanceBy(
    advanceSession: NonNullable<NonNullable<Options>["handlers"]>["advanceSession"],
    anchors?: Anchors,
  ) {
    const served = await serve({
      handlers: { advanceSession: advanceSession! },
      ...(anchors && { anchors }),
    });
    const clients = makeClients(served.target, { withJar: false, retries: false });
    closing.push(clients);
    const { waybill } = await step(clients.session.beginSession, begun);
    const advance = (again = "next") =>
      step(
        clients.session.advanceSession,
        { state: state(again), waybill: undefined },
        { waybill },
      );
    return { ...served, advance };
  }
  beforeEach(() =>
    pool.query("CREATE TABLE IF NOT EXISTS session.written (value text); TRUNCATE session.written"),
  );
  const written = async () =>
    (await pool.query("SELECT value FROM session.written")).rows.map(({ value }) => value);

  test("is committed with the step", async () => {
    const { advance } = await advanceBy(async (request, context) => {
      context.session.state = request.state!;
      const tx = await context.transaction();
      await tx.query("INSERT INTO session.written VALUES ('a')");
      expect(await context.transaction()).toBe(tx);
      await tx.query("INSERT INTO session.written VALUES ('b')");
      return { session: undefined, waybill: undefined };
    });
    await advance();
    expect(await written()).toEqual(["a", "b"]);
    expect((await versions())[0]).toBe(2);
  });

  test("is rolled back with the step", async () => {
    const { advance } = await advanceBy(async (_request, context) => {
      await (await context.transaction()).query("INSERT INTO session.written VALUES ('a')");
      throw new Error("after all");
    });
    expect((await refusal(advance())).reason).toBe("INTERNAL");
    expect(await written()).toEqual([]);
    expect((await versions())[0]).toBe(1);
  });

  test("is rolled back when the session does not advance", async () => {
    class Elsewhere extends Anchors {
      override advance = async () => false;
    }
    const { advance } = await advanceBy(
      async (_request, context) => {
        await (await context.transaction()).query("INSERT INTO session.written VALUES ('a')");
        return { session: undefined, waybill: undefined };
      },
      new Elsewhere(pool, "session", "test"),
    );
    expect((await refusal(advance())).reason).toBe("INTERNAL");
    expect(await written()).toEqual([]);
  });

  test("is denied with a stale waybill", async () => {
    let tries = 0;
    const { advance } = await advanceBy(async (_request, context) => {
      tries += 1;
      await context.transaction().catch(() => {});
      return { session: undefined, waybill: undefined };
    });
    await advance("one");
    expect((await refusal(advance("two"))).reason).toBe("WAYBILL_STALE");
    expect(tries).toBe(2);
    expect((await versions())[0]).toBe(2);
  });

  test("forbids calls to other services while it is open", async () => {
    const other = await serve();
    const outside = createClient(SessionServiceService, other.target);
    const call = () => outside.beginSession({ state: state("x"), waybill: undefined });
    const { advance, failures } = await advanceBy(async (_request, context) => {
      await call();
      await context.transaction();
      await call();
      return { session: undefined, waybill: undefined };
    });
    expect((await refusal(advance())).reason).toBe("INTERNAL");
    expect(JSON.stringify(failures, (_, value) => value?.message ?? value)).toContain(
      "BeginSession is called while the caller's transaction is open",
    );
    expect((await versions())[0]).toBe(1);
    outside.close();
  });

  test("is unavailable in carried sessions and reads", async () => {
    const served = await serve({
      handlers: {
        openSession: async (_request, context) => {
          await context.transaction();
          return { session: undefined, state: undefined, waybill: undefined };
        },
      },
    });
    const { session, close } = makeClients(served.target, { withJar: false, retries: false });
    const { waybill } = await step(session.beginSession, begun);
    const read = step(session.openSession, { waybill: undefined }, { waybill });
    expect((await refusal(read)).reason).toBe("INTERNAL");
    close();
  });
});

describe("the jar", () => {
  /** A client with a jar, and the metadata of each attempt of its calls. */
  function recorded(target: string, options: Partial<ConstructorParameters<typeof Jar>[0]> = {}) {
    const attempts: { method: string; key: string | undefined }[] = [];
    /** Delays each attempt until its promise settles. */
    const gate = { passes: (_attempt: number): Promise<void> => Promise.resolve() };
    const recorder: Interceptor = (call, next) =>
      new InterceptingCall(next(call), {
        start(metadata, listener, advanceTo) {
          const method = call.method_definition.path.split("/").at(-1)!;
          attempts.push({ method, key: metadata.get("idempotency-key")[0]?.toString() });
          void gate.passes(attempts.length).then(() => advanceTo(metadata, listener));
        },
      });
    const jar = new Jar({ contract, ...options });
    const client = createClient(SessionServiceService, target, {
      interceptors: [jar.interceptor(), recorder],
    });
    return { client, attempts, gate };
  }

  test("gives each advance a key that retries share", async () => {
    const { target } = await serve();
    let answers = 0;
    const proxy = await startLossyProxy(target, () => {
      answers += 1;
      return answers === 2;
    });
    const { client, attempts } = recorded(proxy.target);
    await client.beginSession(begun);
    await client.advanceSession({ state: state("x"), waybill: undefined });
    await client.advanceSession({ state: state("x"), waybill: undefined });
    expect(attempts.map(({ method }) => method)).toEqual([
      "BeginSession",
      "AdvanceSession",
      "AdvanceSession",
      "AdvanceSession",
    ]);
    const [, once, again, other] = attempts.map(({ key }) => key);
    expect(once).toMatch(/^[0-9a-f-]{36}$/);
    expect(again).toBe(once);
    expect(other).not.toBe(once);
    client.close();
    await proxy.close();
  });

  test("does not retry an unrepeatable call", async () => {
    const { target } = await serve();
    let answers = 0;
    const proxy = await startLossyProxy(target, () => {
      answers += 1;
      return answers === 2;
    });
    const store = new MemoryStore();
    const unrepeatable: Contract = {
      ...contract,
      find(path) {
        const method = contract.find(path);
        return method && { ...method, idempotent: false };
      },
    };
    const { client, attempts, gate } = recorded(proxy.target, { contract: unrepeatable, store });
    await client.beginSession(begun);
    const first = store.get("session/default")!;
    const lost = Promise.withResolvers<void>();
    const held = Promise.withResolvers<void>();
    gate.passes = async (attempt) => {
      if (attempt !== 3) return;
      lost.resolve();
      await held.promise;
    };
    const call = client.advanceSession({ state: state("once"), waybill: undefined });
    await lost.promise;
    // Meanwhile another program advances the session further, and leaves its waybill in the store.
    const { session, close } = makeClients(target, { withJar: false, retries: false });
    const request = { state: state("once"), waybill: undefined };
    const made = await step(session.advanceSession, request, {
      waybill: first,
      key: attempts[1]!.key!,
    });
    const other = { state: state("other"), waybill: undefined };
    const { waybill } = await step(session.advanceSession, other, { waybill: made.waybill });
    store.set("session/default", waybill!);
    held.resolve();
    expect(await refusal(call)).toMatchObject({
      reason: "WAYBILL_STALE",
      metadata: { served: "true", newest: "3" },
    });
    expect((await versions())[0]).toBe(3);
    close();
    client.close();
    await proxy.close();
  });

  test("retries with the same key after a lost response", async () => {
    const { target } = await serve();
    let answers = 0;
    const proxy = await startLossyProxy(target, () => {
      answers += 1;
      return answers === 2;
    });
    const jar = new Jar({ contract });
    // The client has no retries of its own, only the jar's.
    const client = createClient(SessionServiceService, proxy.target, {
      interceptors: [jar.interceptor()],
    });
    await client.beginSession(begun);
    const { session } = await client.advanceSession({ state: state("x"), waybill: undefined });
    expect(proxy.lost()).toBe(1);
    expect(session?.version).toBe(2);
    expect((await versions())[0]).toBe(2);
    const next = await client.advanceSession({ state: state("y"), waybill: undefined });
    expect(next.session?.version).toBe(3);
    client.close();
    await proxy.close();
  });

  test("advances from a newer waybill that another program stored", async () => {
    const held = Promise.withResolvers<void>();
    const arrived = Promise.withResolvers<void>();
    let isHeld = true;
    const { target } = await serve({
      handlers: {
        advanceSession: async (request, { session }) => {
          session.state = request.state!;
          if (isHeld && JSON.stringify(request.state).includes("held")) {
            isHeld = false;
            arrived.resolve();
            await held.promise;
          }
          return { session: undefined, waybill: undefined };
        },
      },
    });
    const store = new MemoryStore();
    const [one, two] = [0, 1].map(() =>
      createClient(SessionServiceService, target, {
        interceptors: [new Jar({ contract, store }).interceptor()],
      }),
    );
    await one!.beginSession(begun);
    const late = one!.advanceSession({ state: state("held"), waybill: undefined });
    await arrived.promise;
    await two!.advanceSession({ state: state("first"), waybill: undefined });
    held.resolve();
    await late;
    expect((await versions())[0]).toBe(3);
    const { state: last } = await two!.openSession({ waybill: undefined });
    expect(last).toMatchObject(state("held"));
    one!.close();
    two!.close();
  });
});

test("a session saves a bounded number of stream responses", async () => {
  const anchors = new Anchors(pool, "session", "test");
  const sessionId = newUuid();
  const [savedResponse, identity] = [
    Buffer.alloc(10),
    { idempotencyDigest: DIGEST, requestDigest: DIGEST },
  ];
  await anchors.create({ sessionId, digest: DIGEST, savedResponse, expiresAt: Date.now() });
  const step = { digest: DIGEST, identity, savedResponse, ended: false, isSaved: true };
  const count = MAX_SAVED_RESPONSES + 5;
  for (let version = 1; version <= count; version += 1) {
    expect(await anchors.advance({ sessionId, version, digest: DIGEST }, step)).toBe(true);
  }
  const { rows } = await pool.query(
    `SELECT min(version) AS oldest, max(version) AS newest, count(*)::integer
       FROM session.advance WHERE session_id = $1 AND answer IS NOT NULL`,
    [sessionId],
  );
  expect(rows).toEqual([
    { oldest: count + 2 - MAX_SAVED_RESPONSES, newest: count + 1, count: MAX_SAVED_RESPONSES },
  ]);
});

test("missed stream messages are read in pages, without gaps", async () => {
  const anchors = new Anchors(pool, "session", "test");
  const sessionId = newUuid();
  const [savedResponse, identity] = [
    Buffer.alloc(400_000),
    { idempotencyDigest: DIGEST, requestDigest: DIGEST },
  ];
  await anchors.create({ sessionId, digest: DIGEST, savedResponse, expiresAt: Date.now() });
  const step = { digest: DIGEST, identity, savedResponse, ended: false, isSaved: true };
  for (let version = 1; version <= 12; version += 1) {
    await anchors.advance({ sessionId, version, digest: DIGEST }, step);
  }
  const pages: number[][] = [];
  for (let version = 1; ; version = pages.at(-1)!.at(-1)!) {
    const page = await anchors.savedAfter(sessionId, version, 20);
    if (page.length === 0) break;
    pages.push(page.map((kept) => kept.version));
  }
  expect(pages).toEqual([
    [2, 3, 4, 5, 6, 7],
    [8, 9, 10, 11, 12, 13],
  ]);
});

describe("partitions", () => {
  const names = async () =>
    (
      await pool.query(
        `SELECT relid::regclass::text AS name FROM pg_partition_tree('session.anchor') WHERE isleaf`,
      )
    ).rows.map(({ name }) => name as string);
  const anchors = () => new Anchors(pool, "session", "test");
  /** Adds a partition of sessions that began 80 days ago. */
  const makeOld = async () => {
    const { rows } = await pool.query(`
      SELECT session.session_id_at(now() - interval '80 days') AS lower,
             session.session_id_at(now() - interval '79 days') AS upper`);
    await pool.query(`
      CREATE TABLE session.anchor_old (LIKE session.anchor INCLUDING ALL);
      ALTER TABLE session.anchor ATTACH PARTITION session.anchor_old
        FOR VALUES FROM ('${rows[0].lower}') TO ('${rows[0].upper}')`);
  };

  test("are created ahead, once, and stay in place", async () => {
    await anchors().keepPartitions(6 * 3600, 24 * 3600);
    const before = await names();
    expect(before.length).toBeGreaterThanOrEqual(3);
    expect(await anchors().keepPartitions(6 * 3600, 24 * 3600)).toEqual([]);
    expect(await names()).toEqual(before);
    // A new width starts after the last partition.
    await anchors().keepPartitions(3600, 24 * 3600);
    expect(await names()).toEqual(before);
  });

  test("are created by one replica at a time", async () => {
    const other = new Client({ connectionString: postgres.url });
    await other.connect();
    await other.query("BEGIN");
    await other.query("SELECT session.keep_partitions('6 hours', '1 day')");
    expect(await anchors().keepPartitions(6 * 3600, 24 * 3600)).toBeUndefined();
    await other.query("COMMIT");
    expect(await anchors().keepPartitions(6 * 3600, 24 * 3600)).toEqual([]);
    await other.end();
  });

  test("wait briefly for locks and do not block readers", async () => {
    const other = new Client({ connectionString: postgres.url });
    await other.connect();
    await other.query("BEGIN; LOCK TABLE session.anchor IN ACCESS SHARE MODE");
    await makeOld();
    const before = await names();
    // The repeated call still writes.
    expect(await anchors().keepPartitions(2 * 24 * 3600, 24 * 3600)).toEqual([]);
    const after = await names();
    expect(after).toEqual(expect.arrayContaining(before));
    expect(after.length).toBeGreaterThan(before.length);
    await other.query("COMMIT");
    await other.end();
    expect(await anchors().keepPartitions(2 * 24 * 3600, 24 * 3600)).toEqual(["anchor_old"]);
  });

  test("are never dropped by a migration", async () => {
    await anchors().keepPartitions(6 * 3600, 24 * 3600);
    await makeOld();
    await postgres.migrate();
    expect(await names()).toContain("session.anchor_old");
    expect(await anchors().keepPartitions(6 * 3600, 79.5 * 24 * 3600)).toEqual([]);
    expect(await anchors().keepPartitions(6 * 3600, 78 * 24 * 3600)).toEqual(["anchor_old"]);
  });

  test("of unrelated tables are left alone", async () => {
    await pool.query(`
      CREATE TABLE session.bill (day date NOT NULL) PARTITION BY RANGE (day);
      CREATE TABLE session.bill_1 PARTITION OF session.bill FOR VALUES FROM ('2000-01-01') TO ('2001-01-01')`);
    expect(await anchors().keepPartitions(6 * 3600, 24 * 3600)).toEqual([]);
    expect((await pool.query("SELECT * FROM session.bill")).rows).toEqual([]);
    await pool.query("DROP TABLE session.bill");
  });

  test("are created by the service's own role", async () => {
    const url = new URL(postgres.url);
    url.username = "waybill_session";
    url.password = "session-1";
    const own = createPool(url.href, { max: 1, name: "own" });
    expect(await new Anchors(own, "session", "test").keepPartitions(6 * 3600, 24 * 3600)).toEqual(
      [],
    );
    await expect(own.query("DROP TABLE session.anchor")).rejects.toMatchObject({ code: "42501" });
    await own.end();
  });
});
