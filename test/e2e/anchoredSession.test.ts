import { Client } from "pg";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createClient } from "waybill/client";
import { Mode } from "#proto/waybill/options/v1/options.ts";
import { DirectoryServiceService } from "#proto/waybill/session/v1/directory.ts";
import type { SessionState } from "#proto/waybill/session/v1/session.ts";
import { bearer, Callers, type Person } from "../support/callers/callers.ts";
import { type Clients, makeClients } from "../support/clients.ts";
import { startTestCluster, type TestCluster } from "../support/cluster.ts";
import { refusal, untilRefused } from "../support/refusal.ts";
import { step } from "../support/step.ts";

let cluster: TestCluster;
let callers: Callers;
let byHand: Clients;
let [ada, bob]: Person[] = [];
beforeAll(async () => {
  cluster = await startTestCluster();
  callers = new Callers(cluster.target, cluster.status().adminSecretFile);
  byHand = makeClients(cluster.target, { withJar: false, retries: false });
  [ada, bob] = await Promise.all([callers.person(), callers.person()]);
});
afterAll(async () => {
  byHand?.close();
  callers?.close();
  await cluster?.remove();
});

const state = (number: number): SessionState => ({
  value: { $case: "json", value: { number } },
});
const begin = (mode: Mode | undefined, token?: string) =>
  step(
    byHand.session.beginSession,
    { state: state(1), waybill: undefined, mode },
    token === undefined ? {} : { token },
  );
const advance = (waybill: string | undefined, number: number, key?: string) =>
  step(
    byHand.session.advanceSession,
    { state: state(number), waybill: undefined },
    { waybill, ...(key && { key }) },
  );

test("the begin request chooses whether a session is anchored", async () => {
  for (const mode of [undefined, Mode.MODE_CARRIED]) {
    const begun = await begin(mode);
    expect(begun.response.session).toMatchObject({ version: 1, mode: Mode.MODE_CARRIED });
    await advance(begun.waybill, 2);
    await advance(begun.waybill, 3);
  }
  const begun = await begin(Mode.MODE_ANCHORED);
  expect(begun.response.session).toMatchObject({ version: 1, mode: Mode.MODE_ANCHORED });
  const { response, waybill } = await advance(begun.waybill, 2);
  expect(response.session).toMatchObject({ version: 2, mode: Mode.MODE_ANCHORED });
  expect((await refusal(advance(begun.waybill, 3))).reason).toBe("WAYBILL_STALE");
  await advance(waybill, 3);
  const wrong = begin(Mode.MODE_EITHER);
  expect((await refusal(wrong)).violations).toMatchObject([{ field: "mode" }]);
});

test("a retry gets the saved response, either carrier", async () => {
  const begun = await begin(Mode.MODE_ANCHORED);
  const { response } = await advance(begun.waybill, 2, "k");
  expect((await advance(begun.waybill, 2, "k")).response).toEqual(response);

  const inMessage = await byHand.session.beginSession({
    state: state(1),
    mode: Mode.MODE_ANCHORED,
    waybill: { protected: EMPTY, iv: EMPTY, ciphertext: EMPTY, tag: EMPTY },
  });
  const { waybill } = inMessage;
  const [one, two] = await Promise.all(
    [1, 2].map(() => byHand.session.advanceSession({ state: state(2), waybill })),
  );
  expect(one!.session).toEqual(two!.session);
  for (const answered of [one!, two!]) {
    const opened = await byHand.session.openSession({ waybill: answered.waybill });
    expect(opened).toMatchObject({ session: { version: 2 }, state: state(2) });
  }
});
const EMPTY = Buffer.alloc(0);

test("writes refuse an anonymous session that has ended", async () => {
  const begun = await begin(Mode.MODE_ANCHORED);
  await step(byHand.session.endSession, { waybill: undefined }, { waybill: begun.waybill });
  expect((await refusal(advance(begun.waybill, 2))).reason).toBe("WAYBILL_ENDED");
});

test("an owner lists only their own anchored sessions, paged", async () => {
  const { accessToken } = await callers.signIn(ada!);
  const settings = bearer(accessToken);
  const list = (pageToken = "", pageSize = 0) =>
    byHand.session.listSessions({ pageToken, pageSize }, settings);
  expect((await list()).sessions).toEqual([]);
  const { response } = await begin(Mode.MODE_ANCHORED, accessToken);
  await byHand.checkout.beginCheckout({}, settings);
  await begin(Mode.MODE_CARRIED, accessToken);
  await begin(Mode.MODE_ANCHORED);
  await begin(Mode.MODE_ANCHORED, (await callers.signIn(bob!)).accessToken);

  const { sessions } = await list();
  expect(sessions.map(({ audience }) => audience)).toEqual(["checkout", "session"]);
  expect(sessions[1]).toMatchObject({
    name: response.session!.name,
    expireTime: response.session!.expireTime,
  });
  const first = await list("", 1);
  expect(first.sessions).toEqual(sessions.slice(0, 1));
  const second = await list(first.nextPageToken, 1);
  expect(second).toMatchObject({ sessions: sessions.slice(1), nextPageToken: "" });
  const stolen = byHand.session.listSessions(
    { pageToken: first.nextPageToken, pageSize: 1 },
    bearer((await callers.signIn(bob!)).accessToken),
  );
  expect((await refusal(stolen)).reason).toBe("PAGE_TOKEN_INVALID");
});

test("an owner ends only their own sessions, without waybills", async () => {
  const { accessToken: token } = await callers.signIn(ada!);
  const begun = await begin(Mode.MODE_ANCHORED, token);
  const { name } = begun.response.session!;
  const stranger = bearer((await callers.signIn(bob!)).accessToken);
  const stolen = byHand.session.revokeSession({ name }, stranger);
  expect((await refusal(stolen)).reason).toBe("SESSION_NOT_FOUND");
  const read = () =>
    step(byHand.session.openSession, { waybill: undefined }, { waybill: begun.waybill, token });
  await read();
  await byHand.session.revokeSession({ name }, bearer(token));
  expect((await untilRefused(read)).reason).toBe("WAYBILL_REVOKED");
  const resumed = () => byHand.session.resumeSession({ name }, bearer(token));
  expect((await untilRefused(resumed)).reason).toBe("WAYBILL_REVOKED");
  const { sessions } = await byHand.session.listSessions(
    { pageToken: "", pageSize: 0 },
    bearer(token),
  );
  expect(sessions.map((listed) => listed.name)).not.toContain(name);
});

test("a session is resumed by name, with its state", async () => {
  const { accessToken: token } = await callers.signIn(ada!);
  const begun = await begin(Mode.MODE_ANCHORED, token);
  const { name } = begun.response.session!;
  const { response, waybill } = await step(byHand.session.resumeSession, { name }, { token });
  expect(response).toMatchObject({ session: { name, version: 2 }, state: state(1) });
  const on = await step(
    byHand.session.advanceSession,
    { state: state(2), waybill: undefined },
    { waybill, token },
  );
  expect(on.response.session).toMatchObject({ name, version: 3 });
  const carried = await begin(Mode.MODE_CARRIED, token);
  const other = { name: carried.response.session!.name };
  const lost = byHand.session.resumeSession(other, bearer(token));
  expect((await refusal(lost)).reason).toBe("SESSION_NOT_FOUND");
});

test("E4 only services register in the directory, not through Envoy", async () => {
  const entry = { sessionId: Buffer.alloc(16), subject: "users/x", expireTime: new Date() };
  const through = createClient(DirectoryServiceService, cluster.target);
  expect((await refusal(through.registerSession(entry))).code).toBe(12);
  through.close();
  const direct = createClient(DirectoryServiceService, cluster.status().replicas[0]!.address);
  expect((await refusal(direct.registerSession(entry))).reason).toBe("CREDENTIAL_INVALID");
  direct.close();
});

test("begins sessions again after all partitions have expired", async () => {
  const db = new Client({ connectionString: cluster.databaseUrl });
  await db.connect();
  const { rows } = await db.query<{ name: string }>(
    `SELECT relid::regclass::text AS name
       FROM unnest('{checkout.anchor,checkout.advance}'::regclass[]) AS parent,
            pg_partition_tree(parent) WHERE isleaf`,
  );
  for (const { name } of rows) await db.query(`DROP TABLE ${name}`);
  await db.end();
  expect((await refusal(byHand.checkout.beginCheckout({}))).reason).toBe("INTERNAL");
  await cluster.scale(3);
  await byHand.checkout.beginCheckout({});
});
