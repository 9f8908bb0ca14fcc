import { randomBytes } from "node:crypto";
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Metadata } from "@grpc/grpc-js";
import type { Client } from "pg";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { RemoteAnchors, readError } from "waybill";
import { Assertions, loadCredentials } from "waybill/auth";
import { Jar } from "waybill/client";
import { fieldToMetadataValue } from "waybill/testing";
import type {
  EditItemsRequest,
  SetItemsResponse,
  UploadItemsRequest,
} from "#proto/waybill/checkout/v1/checkout.ts";
import { Mode } from "#proto/waybill/options/v1/options.ts";
import type { SessionState } from "#proto/waybill/session/v1/session.ts";
import { TokenServiceService } from "#proto/waybill/token/v1/token.ts";
import { newUuid } from "#shared/runtime/ids.ts";
import { makeSecrets } from "../../deploy/local/secrets/credentials.ts";
import { bearer, Callers, type Person, ProofKey } from "../support/callers/callers.ts";
import { shop } from "../support/callers/shopper.ts";
import { crowd } from "../support/callers/shoppers.ts";
import { type Clients, contract, makeClients } from "../support/clients.ts";
import { startTestCluster, type TestCluster } from "../support/cluster.ts";
import { connect } from "../support/gate.ts";
import { startTestPostgres, type TestPostgres } from "../support/postgres.ts";
import { refusal, untilRefused } from "../support/refusal.ts";
import { debianProgram } from "../support/servers/debian.ts";
import { type PgBouncer, POOL_SIZE, startPgBouncer } from "../support/servers/pgbouncer.ts";
import { step } from "../support/step.ts";
import { waitFor } from "../support/waitFor.ts";
import { startCuttable } from "../support/wire/cuttable.ts";

const pgbouncer = debianProgram("pgbouncer");
/** Roles behind PgBouncer. The role `keys` uses LISTEN, which needs its own connection. */
const ROLES = ["identity", "token", "session", "catalog", "checkout"] as const;

describe.skipIf(pgbouncer === undefined)("behind PgBouncer in transaction mode (needs apt)", () => {
  let postgres: TestPostgres;
  let bouncer: PgBouncer;
  let cluster: TestCluster;
  let callers: Callers;
  /** Connections to Postgres itself, and to PgBouncer's console. */
  let [db, pooler]: Client[] = [];
  /** One client for each replica, without retries, so that a failed statement shows. */
  let [a, b]: Clients[] = [];
  let ada: Person;
  let token: string;

  beforeAll(async () => {
    postgres = await startTestPostgres();
    const dataDir = mkdtempSync(join(tmpdir(), "waybill-test-"));
    const { passwords } = await makeSecrets(join(dataDir, "secrets"));
    bouncer = await startPgBouncer(pgbouncer!, postgres.url, { ...passwords });
    const urls = ROLES.map((role) => {
      const url = new URL(postgres.url);
      url.username = `waybill_${role}`;
      url.password = passwords[role];
      url.port = `${bouncer.port}`;
      return [`WAYBILL_DATABASE_URL_${role.toUpperCase()}`, url.href];
    });
    cluster = await startTestCluster({
      dataDir,
      databaseUrl: postgres.url,
      replicaEnv: { ...Object.fromEntries(urls), WAYBILL_DATABASE_PREPARE: "off" },
    });
    [db, pooler] = [await connect(postgres.url), await connect(bouncer.consoleUrl)];
    [a, b] = cluster
      .status()
      .replicas.map(({ address }) => makeClients(address, { withJar: false, retries: false }));
    callers = new Callers(cluster.target, cluster.status().adminSecretFile);
    ada = await callers.person();
    ({ accessToken: token } = await callers.signIn(ada));
  });
  afterAll(async () => {
    for (const clients of [a, b, callers]) clients?.close();
    await Promise.all([db?.end(), pooler?.end()]);
    await cluster?.remove();
    await bouncer?.stop();
    await postgres?.remove();
  });

  const stateOf = (at: number, padding = ""): SessionState => ({
    value: { $case: "json", value: { at, padding } },
  });
  const begin = async (mode: Mode, own?: string, checkpointEvery?: number) => {
    const request = { state: stateOf(1), waybill: undefined, mode, checkpointEvery };
    const begun = await step(a!.session.beginSession, request, { token: own });
    return { name: begun.response.session!.name, waybill: begun.waybill! };
  };
  const advance = (
    { session }: Clients,
    waybill: string | undefined,
    state: SessionState,
    { key, own }: { key?: string; own?: string } = {},
  ) =>
    step(
      session.advanceSession,
      { state, waybill: undefined },
      { waybill, token: own, ...(key && { key }) },
    );
  const open = async ({ session }: Clients, waybill: string | undefined, own?: string) =>
    (await step(session.openSession, { waybill: undefined }, { waybill, token: own })).response;
  const resume = ({ session }: Clients, name: string) =>
    step(session.resumeSession, { name }, { token });
  const listed = async () =>
    (await b!.session.listSessions({ pageSize: 100, pageToken: "" }, bearer(token))).sessions.map(
      ({ name }) => name,
    );

  test("the pooler is real: consecutive statements use different connections", async () => {
    const { rows: versions } = await pooler!.query<{ version: string }>("SHOW VERSION");
    // Logged, but not required: from 1.21 on, PgBouncer also supports prepared statements.
    console.log(versions[0]!.version);
    expect(versions[0]!.version).toMatch(/^PgBouncer \d/);
    const { rows } = await pooler!.query<{ key: string; value: string }>("SHOW CONFIG");
    const config = Object.fromEntries(rows.map(({ key, value }) => [key, value]));
    expect(config).toMatchObject({ pool_mode: "transaction", server_round_robin: "1" });
  });

  test("reads the catalog", async () => {
    const list = (pageToken: string) =>
      a!.catalog.listProducts({ pageSize: 2, pageToken, filter: 'title:"moon"', orderBy: "title" });
    const { products, nextPageToken } = await list("");
    const later = await list(nextPageToken);
    const names = [...products, ...later.products].map(({ name }) => name);
    expect(new Set(names).size).toBe(4);
    for (const { catalog } of [a!, b!, a!, b!]) {
      expect((await catalog.batchGetProducts({ names })).products).toHaveLength(4);
      expect((await catalog.getProduct({ name: names[0]! })).name).toBe(names[0]);
    }
  });

  test("advances an anchored session and retries idempotently", async () => {
    let { waybill } = await begin(Mode.MODE_ANCHORED);
    for (const at of [2, 3, 4, 5, 6]) {
      const from = waybill;
      const made = await advance(a!, from, stateOf(at), { key: `key-${at}` });
      waybill = made.waybill!;
      const again = await advance(b!, from, stateOf(at), { key: `key-${at}` });
      expect(again.response).toEqual(made.response);
      expect((await refusal(advance(b!, from, stateOf(0)))).reason).toBe("WAYBILL_STALE");
      expect((await open(b!, again.waybill)).state).toMatchObject(stateOf(at));
    }
  });

  test("lists an owner's session and resumes it by name", async () => {
    const { name } = await begin(Mode.MODE_ANCHORED, token);
    // A session of another service, which registers it with the session service.
    const { waybill } = await step(a!.checkout.beginCheckout, {}, { token });
    // Newest first.
    const [checkout, ...others] = await listed();
    expect(others[0]).toBe(name);
    for (const clients of [a!, b!, a!, b!]) {
      expect((await resume(clients, name)).response.state).toMatchObject(stateOf(1));
    }
    const taken = await step(b!.checkout.resumeCheckout, { name: checkout! }, { token });
    expect(taken.waybill).toBeDefined();
    const late = step(b!.checkout.addItem, { product: "products/1" }, { waybill, token });
    expect((await refusal(late)).reason).toBe("WAYBILL_STALE");
  });

  test.each([
    ["carried", Mode.MODE_CARRIED],
    ["anchored", Mode.MODE_ANCHORED],
  ])("spills and loads a large state: %s", async (_, mode) => {
    let waybill: string | undefined = (await begin(mode)).waybill;
    const kept = async () => (await db!.query("SELECT FROM session.spill")).rowCount!;
    const before = await kept();
    for (const [at, size] of [10_000, 900_000, 20_000, 10].entries()) {
      const state = stateOf(at, "x".repeat(size));
      ({ waybill } = await advance(at % 2 ? b! : a!, waybill, state));
      expect(waybill!.length).toBeLessThanOrEqual(4096);
      // The other replica reads it from Postgres.
      for (const clients of [a!, b!]) {
        expect((await open(clients, waybill)).state).toMatchObject(state);
      }
    }
    expect((await kept()) - before).toBe(3);
  });

  test("reopens a cut stream and replays missed messages", async () => {
    const way = await startCuttable(cluster.status().replicas[0]!.address);
    const near = makeClients(way.target, { withJar: false, retries: false });
    const first = (await step(b!.checkout.beginCheckout, {})).waybill!;
    const items = [1, 2, 3, 4, 5].map((id) => ({ product: `products/${id}`, quantity: id }));
    const setItems = async ({ checkout }: Clients, waybill: string, cutAfter?: number) => {
      const heard: SetItemsResponse[] = [];
      try {
        for await (const message of checkout.setItems(
          { items },
          { metadata: metadataWith(waybill) },
        )) {
          if (heard.push(message) === cutAfter) way.cut();
        }
      } catch (error) {
        if (cutAfter === undefined) throw error;
      }
      return heard;
    };
    const numbers = (heard: SetItemsResponse[]) => heard.map(({ item }) => item!.quantity);
    const some = (await setItems(near, first, 2)).slice(0, 2);
    expect(numbers(some)).toEqual([1, 2]);
    const last = fieldToMetadataValue(some[1]!.waybill)!;
    // The first call may continue for a while. If the two conflict, retry this one.
    const rest = await waitFor("the first call to end", () =>
      setItems(b!, last).catch((error) => {
        const { reason, metadata } = readError(error);
        if (reason !== "WAYBILL_STALE" || metadata["served"] !== "true") throw error;
        return undefined;
      }),
    );
    expect(numbers(rest)).toEqual([3, 4, 5]);
    // All messages, from the saved responses.
    for (const clients of [a!, b!, a!, b!]) {
      expect(numbers(await setItems(clients, first))).toEqual([1, 2, 3, 4, 5]);
    }
    near.close();
    await way.close();
  });

  test("retries client-streaming and bidirectional calls", async () => {
    const first = (await step(a!.checkout.beginCheckout, {})).waybill!;
    async function* uploads(): AsyncGenerator<UploadItemsRequest> {
      for (const id of [1, 2]) yield { product: `products/${id}`, quantity: 1 };
    }
    let waybill: string | undefined;
    const upload = ({ checkout }: Clients) =>
      checkout.uploadItems(uploads(), {
        metadata: metadataWith(first),
        onMetadata: (metadata) => {
          waybill = metadata.get("waybill")[0] as string;
        },
      });
    const made = await upload(a!);
    for (const clients of [b!, a!, b!]) expect(await upload(clients)).toEqual(made);
    async function* edits(): AsyncGenerator<EditItemsRequest> {
      for (const id of [3, 4]) yield { item: { product: `products/${id}`, quantity: 1 } };
    }
    const from = waybill!;
    const sizes: number[] = [];
    for await (const { checkout } of b!.checkout.editItems(edits(), {
      metadata: metadataWith(from),
    })) {
      sizes.push(checkout!.items.length);
    }
    expect(sizes).toEqual([3, 4]);
  });

  test("resumes a carried session from its last checkpoint", async () => {
    const { name, waybill } = await begin(Mode.MODE_CARRIED, token, 2);
    let newest: string | undefined = waybill;
    for (const at of [2, 3, 4, 5]) {
      ({ waybill: newest } = await advance(at % 2 ? a! : b!, newest, stateOf(at), { own: token }));
    }
    expect((await resume(a!, name)).response.state).toMatchObject(stateOf(4));
    await step(a!.session.checkpointSession, { waybill: undefined }, { waybill: newest, token });
    const taken = await resume(b!, name);
    expect(taken.response.state).toMatchObject(stateOf(5));
    await advance(a!, taken.waybill, stateOf(6), { own: token });
    expect(await listed()).toEqual(expect.arrayContaining([name]));
  });

  test.each([
    ["carried", Mode.MODE_CARRIED],
    ["anchored", Mode.MODE_ANCHORED],
  ])("binds an anonymous session to its caller: %s", async (_, mode) => {
    const { waybill } = await begin(mode);
    const bind = ({ session }: Clients) =>
      step(session.bindSession, { waybill: undefined }, { waybill, token, key: "bind" });
    const bound = await bind(a!);
    expect((await open(b!, bound.waybill, token)).state).toMatchObject(stateOf(1));
    if (mode === Mode.MODE_ANCHORED) {
      expect((await bind(b!)).response.session).toEqual(bound.response.session);
    }
    await advance(b!, bound.waybill, stateOf(2), { own: token });
    const { reason } = await untilRefused(() => advance(a!, waybill, stateOf(2)));
    expect(reason).toMatch(/^WAYBILL_(ENDED|REVOKED)$/);
  });

  test("binds an anonymous basket to its caller", async () => {
    const begun = await step(a!.checkout.beginCheckout, {});
    const item = { product: "products/7", quantity: 2 };
    const { waybill } = await step(b!.checkout.addItem, item, { waybill: begun.waybill });
    const bound = await step(a!.checkout.bindCheckout, {}, { waybill, token });
    expect(bound.response.items).toMatchObject([item]);
    await step(b!.checkout.addItem, item, { waybill: bound.waybill, token });
    const late = () => step(a!.checkout.addItem, item, { waybill });
    expect((await untilRefused(late)).reason).toMatch(/^WAYBILL_(ENDED|REVOKED)$/);
  });

  test("places, reads and lists an owner's orders", async () => {
    const jar = new Jar({ contract, signIn: { target: cluster.target } });
    const clients = makeClients(cluster.target, { jar, retries: false });
    await jar.signIn(ada.username, ada.secret);
    const placed: string[] = [];
    for (const product of [11, 13, 15]) placed.unshift((await shop(clients, product)).name);
    for (const name of placed) {
      expect((await clients.checkout.getOrder({ name })).name).toBe(name);
    }
    const first = await clients.checkout.listOrders({ pageSize: 2, pageToken: "" });
    const { orders } = await clients.checkout.listOrders({
      pageSize: 2,
      pageToken: first.nextPageToken,
    });
    expect([...first.orders, ...orders].map(({ name }) => name)).toEqual(placed);
    clients.close();
    jar.close();
  });

  test("ends sessions by waybill and by name", async () => {
    const anonymous = await begin(Mode.MODE_ANCHORED);
    await step(b!.session.endSession, { waybill: undefined }, { waybill: anonymous.waybill });
    const late = await refusal(advance(a!, anonymous.waybill, stateOf(2)));
    expect(late.reason).toBe("WAYBILL_ENDED");

    const { name, waybill } = await begin(Mode.MODE_ANCHORED, token);
    await b!.session.revokeSession({ name }, bearer(token));
    expect((await untilRefused(() => open(a!, waybill, token))).reason).toBe("WAYBILL_REVOKED");
    expect(await listed()).not.toContain(name);

    const checkout = (await step(a!.checkout.beginCheckout, {}, { token })).waybill!;
    await step(b!.checkout.endCheckout, {}, { waybill: checkout, token });
    const get = () => step(a!.checkout.getCheckout, {}, { waybill: checkout, token });
    expect((await untilRefused(get)).reason).toBe("WAYBILL_REVOKED");
  });

  test("issues, refreshes, introspects and revokes tokens", async () => {
    const asking = bearer((await callers.grant((await callers.account()).client)).accessToken);
    const isActive = async (jwt: string) =>
      (await callers.token.introspect({ token: jwt }, asking)).active;
    const KEY = "0123456789abcdef";
    // Enough rounds to run each statement on each connection.
    for (let round = 0; round < 5; round += 1) {
      const signedIn = await callers.signIn(ada);
      const made = await callers.refresh(signedIn.refreshToken, { key: KEY });
      const again = await callers.refresh(signedIn.refreshToken, { key: KEY });
      expect(again.refreshToken).toBe(made.refreshToken);
      expect(await isActive(made.accessToken)).toBe(true);
      const next = await callers.refresh(made.refreshToken);
      // Reuse of a refresh token revokes the family.
      const { reason } = await refusal(callers.refresh(signedIn.refreshToken, { key: `${KEY}2` }));
      expect(reason).toBe("INVALID_GRANT");
      expect((await refusal(callers.refresh(next.refreshToken))).reason).toBe("INVALID_GRANT");
    }
    const key = new ProofKey();
    const url = `${callers.issuer}${TokenServiceService.signIn.path}`;
    const proof = key.proving(url);
    await callers.signIn(ada, {}, proof);
    // A proof is accepted once.
    expect((await refusal(callers.signIn(ada, {}, proof))).reason).toMatch(/DPOP|PROOF/);
    const { accessToken: own, refreshToken } = await callers.signIn(ada);
    const { signIns } = await callers.token.listSignIns(
      { pageSize: 100, pageToken: "" },
      bearer(own),
    );
    expect(signIns.length).toBeGreaterThanOrEqual(3);
    await callers.token.endSignIn({ name: "signIns/current" }, bearer(own));
    expect((await refusal(callers.refresh(refreshToken))).reason).toBe("INVALID_GRANT");
    const stranger = await callers.person();
    const ended = await callers.signIn(stranger);
    await callers.identity.endUserSessions({ name: "users/me" }, bearer(ended.accessToken));
    expect((await refusal(callers.refresh(ended.refreshToken))).reason).toBe("INVALID_GRANT");
    await callers.signIn(stranger);
  });

  test("stores the anchors of a program without Postgres", async () => {
    const credentials = loadCredentials(join(cluster.dataDir, "secrets", "credentials"));
    const own = new Assertions(credentials, "catalog");
    const [near, far] = cluster
      .status()
      .replicas.map(({ address }) => new RemoteAnchors(address, { contract }, own, "program"));
    const savedResponse = Buffer.alloc(1000, 1);
    const first = { sessionId: newUuid(), version: 1, digest: randomBytes(32) };
    await near!.create({ ...first, savedResponse, expiresAt: Date.now() + 60_000 });
    let from = first;
    for (const version of [2, 3, 4, 5, 6]) {
      const identity = { idempotencyDigest: randomBytes(32), requestDigest: randomBytes(32) };
      const next = {
        digest: randomBytes(32),
        identity,
        savedResponse,
        ended: false,
        isSaved: true,
      };
      expect(await near!.advance(from, next)).toBe(true);
      expect(await far!.advance(from, next)).toBe(false);
      expect(await far!.wasServed(from, identity)).toBe(true);
      from = { ...first, version, digest: next.digest };
      expect(await far!.read(first.sessionId)).toMatchObject({
        version,
        ended: false,
        answer: savedResponse,
      });
    }
    const kept = await far!.savedAfter(first.sessionId, 1, 20);
    expect(kept.map(({ version }) => version)).toEqual([2, 3, 4, 5, 6]);
    near!.close();
    far!.close();
  });

  test("serves many shoppers at once", async () => {
    // Fewer connections than clients, so that clients wait for each other.
    const { orders, failures } = await crowd(cluster.target, 8, (ordered) =>
      waitFor("100 orders", () => ordered() >= 100),
    );
    expect(failures).toEqual([]);
    expect(orders.length).toBeGreaterThanOrEqual(100);
  });

  test("every connection came through the pooler", async () => {
    const { rows: pools } = await pooler!.query<{ user: string; pool_mode: string }>("SHOW POOLS");
    const modes = Object.fromEntries(pools.map((pool) => [pool.user, pool.pool_mode]));
    for (const user of ROLES.map((role) => `waybill_${role}`)) {
      expect(modes[user]).toBe("transaction");
      const connections = async () =>
        (await db!.query("SELECT FROM pg_stat_activity WHERE usename = $1", [user])).rowCount!;
      expect(await connections()).toBeGreaterThan(0);
      // A connection that PgBouncer has closed may take a while to disappear.
      await expect.poll(connections).toBeLessThanOrEqual(POOL_SIZE);
    }
  });
});

/** Metadata with a waybill and an idempotency key. */
function metadataWith(waybill: string): Metadata {
  const metadata = new Metadata();
  metadata.set("waybill", waybill);
  metadata.set("idempotency-key", "stream");
  return metadata;
}
