import { afterAll, beforeAll, expect, test } from "vitest";
import type { SessionState } from "#proto/waybill/session/v1/session.ts";
import { bearer, Callers, type Person } from "../support/callers/callers.ts";
import { type Clients, makeClients } from "../support/clients.ts";
import { startTestCluster, type TestCluster } from "../support/cluster.ts";
import { refusal, untilRefused } from "../support/refusal.ts";
import { step } from "../support/step.ts";

let cluster: TestCluster;
let callers: Callers;
let clients: Clients;
let ada: Person;
let token: string;
beforeAll(async () => {
  cluster = await startTestCluster();
  callers = new Callers(cluster.target, cluster.status().adminSecretFile);
  clients = makeClients(cluster.target, { withJar: false, retries: false });
  ada = await callers.person();
  ({ accessToken: token } = await callers.signIn(ada));
});
afterAll(async () => {
  clients?.close();
  callers?.close();
  await cluster?.remove();
});

const NOT_FOUND = { reason: "SESSION_NOT_FOUND" };
const stateOf = (at: number, padding = ""): SessionState => ({
  value: { $case: "json", value: { at, padding } },
});

/** @param own owner's access token; null: the session has no owner */
async function begin(checkpointEvery?: number, own: string | null = token) {
  const request = { state: stateOf(1), waybill: undefined, checkpointEvery };
  const { response, waybill } = await step(clients.session.beginSession, request, {
    token: own ?? undefined,
  });
  return { name: response.session!.name, waybill: waybill! };
}
async function advance(waybill: string, at: number, padding?: string): Promise<string> {
  const request = { state: stateOf(at, padding), waybill: undefined };
  return (await step(clients.session.advanceSession, request, { waybill, token })).waybill!;
}
const checkpoint = (waybill: string, own = token) =>
  step(clients.session.checkpointSession, { waybill: undefined }, { waybill, token: own });
const resume = (name: string, own = token) =>
  step(clients.session.resumeSession, { name }, { token: own });
const listed = async () =>
  (
    await clients.session.listSessions({ pageSize: 100, pageToken: "" }, bearer(token))
  ).sessions.map(({ name }) => name);

test("another device resumes a carried session's last checkpoint", async () => {
  const { name, waybill } = await begin(2);
  expect(await listed()).not.toContain(name);
  expect(await refusal(resume(name))).toMatchObject(NOT_FOUND);
  let newest = waybill;
  for (const at of [2, 3]) newest = await advance(newest, at);
  expect(await listed()).toContain(name);

  const { accessToken: other } = await callers.signIn(ada);
  const taken = await resume(name, other);
  expect(taken.response.state).toMatchObject(stateOf(2));
  const { session } = taken.response;
  expect(session!.version).toBe(1);
  expect(session!.name).not.toBe(name);
  // The new session advances and saves checkpoints, and so does the old one.
  await advance(taken.waybill!, 9);
  expect((await resume(session!.name)).response.state).toMatchObject(stateOf(9));
  expect(await advance(newest, 4)).toBeTruthy();
  expect((await resume(name)).response.state).toMatchObject(stateOf(4));
});

test("a checkpoint on request saves the version it presents", async () => {
  const { name, waybill } = await begin();
  const second = await advance(waybill, 2);
  expect(await listed()).not.toContain(name);
  const { response } = await checkpoint(second);
  expect(response.session).toMatchObject({ name, version: 2 });
  await advance(second, 3);
  expect((await resume(name)).response.state).toMatchObject(stateOf(2));
});

test("an older waybill's checkpoint never replaces a newer one", async () => {
  const { name, waybill } = await begin();
  const second = await advance(waybill, 2);
  await checkpoint(second);
  await checkpoint(waybill);
  expect((await resume(name)).response.state).toMatchObject(stateOf(2));
});

test("a resumed session ends no later than its original", async () => {
  const { name, waybill } = await begin(1);
  const open = await step(clients.session.openSession, { waybill: undefined }, { waybill, token });
  const { response } = await resume(name);
  expect(response.session!.expireTime).toEqual(open.response.session!.expireTime);
});

test("a spilled state is resumed too", async () => {
  const { name, waybill } = await begin();
  const padding = "x".repeat(50_000);
  await checkpoint(await advance(waybill, 2, padding));
  const taken = await resume(name);
  expect(taken.response.state).toMatchObject(stateOf(2, padding));
  // The resumed session has its own copy of the spilled state.
  const open = { waybill: taken.waybill!, token };
  const read = await step(clients.session.openSession, { waybill: undefined }, open);
  expect(read.response.state).toMatchObject(stateOf(2, padding));
});

test("refuses to resume others', unsaved and ended sessions", async () => {
  const { name, waybill } = await begin(1);
  const { accessToken: stranger } = await callers.signIn(await callers.person());
  expect(await refusal(resume(name, stranger))).toMatchObject(NOT_FOUND);
  expect(await refusal(resume((await begin()).name))).toMatchObject(NOT_FOUND);
  expect((await resume(name)).response.state).toMatchObject(stateOf(1));
  await step(clients.session.endSession, { waybill: undefined }, { waybill, token });
  const { reason } = await untilRefused(() => resume(name));
  expect(reason).toBe("WAYBILL_REVOKED");
  expect(await listed()).not.toContain(name);
});

test("an anonymous session gets no checkpoints", async () => {
  const { name, waybill } = await begin(1, null);
  expect(await refusal(resume(name))).toMatchObject(NOT_FOUND);
  expect((await refusal(checkpoint(waybill))).reason).toBe("SESSION_NOT_OWNED");
  expect((await refusal(checkpoint(waybill, ""))).reason).toBe("CREDENTIAL_INVALID");
  const bound = await step(clients.session.bindSession, { waybill: undefined }, { waybill, token });
  expect((await resume(bound.response.session!.name)).response.state).toMatchObject(stateOf(1));
});
