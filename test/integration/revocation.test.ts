import { afterAll, beforeAll, expect, test } from "vitest";
import { Mode } from "#proto/waybill/options/v1/options.ts";
import { SessionServiceService } from "#proto/waybill/session/v1/session.ts";
import { createClient, type ServiceClient } from "#shared/client/client.ts";
import { type Account, bearer, Callers } from "../support/callers/callers.ts";
import { refusal, untilRefused } from "../support/refusal.ts";
import { ISSUER, type ReplicasApart, startReplicasApart } from "../support/servers/apart.ts";
import { waitFor } from "../support/waitFor.ts";

const BOUND_MS = 2000;

let apart: ReplicasApart;
let callers: Callers;
let account: Account;
/** Clients of two replicas, each with its own connection to the key service. */
const sessions: ServiceClient<typeof SessionServiceService>[] = [];

beforeAll(async () => {
  apart = await startReplicasApart(2, {
    WAYBILL_REVOCATION_BOUND_MS: `${BOUND_MS}`,
    WAYBILL_SIGN_UP: "closed",
  });
  for (const { address } of apart.replicas) {
    const channel = { "grpc.use_local_subchannel_pool": 1 };
    sessions.push(createClient(SessionServiceService, address, { channel }));
  }
  callers = new Callers(apart.issuerAddress, apart.adminSecretFile, ISSUER);
  account = await callers.account();
});
afterAll(async () => {
  callers?.close();
  for (const client of sessions) client.close();
  await apart?.remove();
});

const state = { value: { $case: "json", value: {} } } as const;
/** Makes a call that verifies its token on one of the two replicas. */
const use = (replica: number, jwt?: string) =>
  sessions[replica]!.beginSession({ state, waybill: undefined }, jwt ? bearer(jwt) : {});
const grant = async () => (await callers.grant(account.client)).accessToken;
const revoke = (token: string) => callers.token.revoke({ client: account.client, token });
const REVOKED = { reason: "CREDENTIAL_INVALID" };
const STALE = { reason: "REVOCATIONS_STALE" };

test("where sign-up is closed, only an administrator creates accounts", async () => {
  const secret = "a secret of some length";
  const signUp = callers.identity.signUp({ username: "eve", secret, displayName: "" });
  expect(await refusal(signUp)).toMatchObject({ reason: "ACCESS_DENIED" });
  expect((await callers.person("eve")).name).toMatch(/^users\//);
});

test("X4 every replica refuses a revoked token", async () => {
  const [jwt, other] = [await grant(), await grant()];
  for (const replica of [0, 1]) await use(replica, jwt);
  await revoke(jwt);
  for (const replica of [0, 1]) {
    expect(await untilRefused(() => use(replica, jwt))).toMatchObject(REVOKED);
    await use(replica, other);
  }
});

test("X4 a replica cut off from the feed fails closed", async () => {
  const [jwt, other] = [await grant(), await grant()];
  for (const replica of [0, 1]) await use(replica, jwt);
  apart.replicas[0]!.way.cut();
  await revoke(jwt);
  expect(await untilRefused(() => use(1, jwt))).toMatchObject(REVOKED);
  // Without news from the feed, it accepts a revoked token no longer than the bound.
  expect(await untilRefused(() => use(0, jwt))).toMatchObject(STALE);
  expect(await refusal(use(0, other))).toMatchObject({ ...STALE, retryAfterMs: 1000 });
  await use(1, other);
  // Calls without a token are served.
  await use(0);
  apart.replicas[0]!.way.mend();
  await waitFor("the replica to catch up with the feed", () =>
    use(0, other).then(
      () => true,
      () => false,
    ),
  );
  expect(await refusal(use(0, jwt))).toMatchObject(REVOKED);
});

test("one owner's ended sessions cannot fill the feed", async () => {
  const { default: pg } = await import("pg");
  const [full, other] = [await callers.person(), await callers.person()];
  const database = new pg.Client({ connectionString: apart.databaseUrl });
  await database.connect();
  await database.query(
    `INSERT INTO keys.revocation (number, id, kind, target, epoch, owner, expires_at)
     SELECT -n, uuid_send(gen_random_uuid()), 'session', gen_random_uuid()::text, 0, $1,
            now() + interval '1 hour'
       FROM generate_series(1, 1000) AS n`,
    [full.name],
  );
  const end = async (person: typeof full, mode: Mode = Mode.MODE_CARRIED) => {
    const { accessToken } = await callers.signIn(person);
    let waybill = "";
    const onMetadata = (reply: { get(key: string): unknown[] }) => {
      waybill = String(reply.get("waybill")[0]);
    };
    const settings = { ...bearer(accessToken), onMetadata };
    await sessions[0]!.beginSession({ state, waybill: undefined, mode }, settings);
    const { metadata } = bearer(accessToken);
    metadata.set("waybill", waybill);
    return sessions[0]!.endSession({ waybill: undefined }, { metadata });
  };
  expect((await end(other)).session?.version).toBe(1);
  expect(await refusal(end(full))).toMatchObject({ reason: "TOO_MANY_SESSIONS_ENDED" });
  // The anchor stores the end of an anchored session, so that the end is complete.
  const anchored = await end(full, Mode.MODE_ANCHORED);
  const { rows } = await database.query("SELECT ended FROM session.anchor WHERE session_id = $1", [
    anchored.session!.name.slice("sessions/".length),
  ]);
  expect(rows).toEqual([{ ended: true }]);
  await database.query("DELETE FROM keys.revocation WHERE number = -1");
  expect((await end(full)).session?.version).toBe(1);
  await database.end();
});

test("an undelivered revocation is retried until delivered", async () => {
  const { default: pg } = await import("pg");
  const person = await callers.person();
  const { accessToken: jwt } = await callers.signIn(person);
  await use(0, jwt);
  const database = new pg.Client({ connectionString: apart.databaseUrl });
  await database.connect();
  // The state that a replica leaves if it is killed after its commit.
  const family = JSON.parse(Buffer.from(jwt.split(".")[1]!, "base64url").toString()).sid;
  await database.query("BEGIN");
  await database.query("UPDATE token.family SET ended_at = now() WHERE id = $1", [family]);
  await database.query(
    "INSERT INTO token.outbox VALUES (uuid_send($1::uuid), $1, now() - interval '1 minute')",
    [family],
  );
  await database.query("COMMIT");
  expect(await untilRefused(() => use(0, jwt))).toMatchObject(REVOKED);
  const { accessToken: second } = await callers.signIn(person);
  await use(1, second);
  const id = person.name.slice("users/".length);
  const { rows } = await database.query<{ epoch: number }>(
    `UPDATE identity."user" SET epoch = nextval('identity.epoch') WHERE id = $1 RETURNING epoch`,
    [id],
  );
  await database.query(
    "INSERT INTO identity.outbox VALUES (uuid_send($1::uuid), $2, $3, now() - interval '1 minute')",
    [id, person.name, rows[0]!.epoch],
  );
  expect(await untilRefused(() => use(1, second))).toMatchObject(REVOKED);
  const left = "SELECT FROM identity.outbox UNION ALL SELECT FROM token.outbox";
  await waitFor("the outboxes to be empty", async () => {
    return (await database.query(left)).rowCount === 0;
  });
  await database.end();
});
