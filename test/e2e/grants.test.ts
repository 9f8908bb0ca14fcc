import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Metadata } from "@grpc/grpc-js";
import { createLocalJWKSet, jwtVerify } from "jose";
import { afterAll, beforeAll, expect, test } from "vitest";
import { TokenServiceService } from "#proto/waybill/token/v1/token.ts";
import {
  assertionOf,
  bearer,
  Callers,
  claimsOf,
  makeSigner,
  ProofKey,
  SECRET,
} from "../support/callers/callers.ts";
import { startTestCluster, type TestCluster } from "../support/cluster.ts";
import { refusal, untilRefused } from "../support/refusal.ts";
import { waitFor } from "../support/waitFor.ts";

let cluster: TestCluster;
let callers: Callers;

beforeAll(async () => {
  cluster = await startTestCluster();
  callers = new Callers(cluster.target, cluster.status().adminSecretFile);
});
afterAll(async () => {
  callers?.close();
  await cluster?.remove();
});

const KEY = "0123456789abcdef";
const url = (method: keyof typeof TokenServiceService) =>
  `${callers.issuer}${TokenServiceService[method].path}`;
const isActive = async (jwt: string): Promise<boolean> => {
  const account = await callers.account();
  const { accessToken } = await callers.grant(account.client);
  return (await callers.token.introspect({ token: jwt }, bearer(accessToken))).active;
};
/** Waits until every replica introspects the token as inactive. */
const untilInactive = async (jwt: string): Promise<void> => {
  const account = await callers.account();
  const { accessToken } = await callers.grant(account.client);
  await untilRefused(async () => {
    const { active } = await callers.token.introspect({ token: jwt }, bearer(accessToken));
    if (!active) throw Object.assign(new Error("inactive"), { code: 0, metadata: new Metadata() });
  });
};

test("an access token follows RFC 9068; jose verifies it", async () => {
  const account = await callers.account({ scopes: ["token.introspect", "audit.read"] });
  const wanted = { scopes: ["audit.read"], audiences: ["token"], mayAct: "" };
  const response = await callers.grant(account.client, wanted);
  const { scopes, audiences } = wanted;
  const granted = { tokenType: "Bearer", expiresInSeconds: 300, scopes, audiences };
  expect(response).toMatchObject(granted);
  const jwks = await (await fetch(`${callers.issuer}/.well-known/jwks.json`)).json();
  const { payload, protectedHeader } = await jwtVerify(
    response.accessToken,
    createLocalJWKSet(jwks as Parameters<typeof createLocalJWKSet>[0]),
    { issuer: callers.issuer, audience: "token", typ: "at+jwt", algorithms: ["EdDSA"] },
  );
  expect(protectedHeader).toEqual({ alg: "EdDSA", typ: "at+jwt", kid: expect.any(String) });
  expect(payload).toMatchObject({
    sub: account.name,
    client_id: account.name,
    scope: "audit.read",
    jti: expect.any(String),
    exp: payload.iat! + 300,
  });
});

test("the server publishes its metadata (RFC 8414)", async () => {
  const answer = await fetch(`${callers.issuer}/.well-known/oauth-authorization-server`);
  expect(answer.headers.get("content-type")).toBe("application/json");
  expect(await answer.json()).toMatchObject({
    issuer: callers.issuer,
    jwks_uri: `${callers.issuer}/.well-known/jwks.json`,
  });
});

test("G1 no implicit grant; only sign-in takes passwords", async () => {
  const answer = await fetch(`${callers.issuer}/.well-known/oauth-authorization-server`);
  const { grant_types_supported: grants } = (await answer.json()) as Record<string, string[]>;
  expect(grants).not.toContain("password");
  expect(grants).not.toContain("implicit");
  const offered = Object.keys(TokenServiceService).filter((name) =>
    /^(grant|sign|refresh$|exchange)/i.test(name),
  );
  expect(offered.sort()).toEqual([
    "exchange",
    "grantClientCredentials",
    "grantJwtBearer",
    "refresh",
    "signIn",
  ]);
});

test("G8 issue, revoke and introspect authenticate a confidential client", async () => {
  const account = await callers.account();
  const { accessToken } = await callers.grant(account.client);
  const wrong = {
    client: account.name,
    proof: { $case: "secret", value: "x".repeat(43) },
  } as const;
  const none = { client: account.name, proof: undefined };
  const nobody = { client: "serviceAccounts/nobody", proof: wrong.proof };
  for (const client of [wrong, none, nobody]) {
    expect(await refusal(callers.grant(client))).toMatchObject({ reason: "INVALID_CLIENT" });
    expect(await refusal(callers.token.revoke({ client, token: accessToken }))).toMatchObject({
      reason: "INVALID_CLIENT",
    });
  }
  expect(await refusal(callers.token.introspect({ token: accessToken }))).toMatchObject({
    reason: "CREDENTIAL_INVALID",
  });
  expect(await isActive(accessToken)).toBe(true);
});

test("private_key_jwt assertions name issuer and purpose, single use", async () => {
  const signer = await makeSigner("k1", "ES256");
  const account = await callers.account({ jwks: signer.jwks });
  const header = { typ: "client-authentication+jwt" };
  const authenticate = (assertion: string) =>
    callers.grant({ client: account.name, proof: { $case: "assertion", value: assertion } });
  const claims = assertionOf(account.name, callers.issuer);
  const good = await signer.sign(claims, header);
  expect((await authenticate(good)).accessToken).not.toBe("");
  const now = claims["iat"] as number;
  const bad = {
    "a second time": good,
    "of another type": await signer.sign(claims, { typ: "jwt-bearer+jwt" }),
    "without a type": await signer.sign(claims, { typ: undefined }),
    "for somebody else": await signer.sign({ ...claims, aud: "https://other" }, header),
    "for somebody else too": await signer.sign(
      { ...claims, aud: [callers.issuer, "https://other"] },
      header,
    ),
    "of another subject": await signer.sign({ ...claims, sub: "serviceAccounts/admin" }, header),
    "of another issuer": await signer.sign({ ...claims, iss: "serviceAccounts/admin" }, header),
    expired: await signer.sign({ ...claims, iat: now - 200, exp: now - 61 }, header),
    "good for a year": await signer.sign({ ...claims, exp: now + 31_536_000 }, header),
    "without an id": await signer.sign({ ...claims, jti: undefined }, header),
    "without an end": await signer.sign({ ...claims, exp: undefined }, header),
    "of another key": await (await makeSigner("k1", "ES256")).sign(claims, header),
    "with a key in it": await signer.sign(claims, { ...header, jwk: signer.jwk }),
    "with a place of keys": await signer.sign(claims, { ...header, jku: "https://other/jwks" }),
    "no JWT": "x.y.z",
  };
  for (const [what, assertion] of Object.entries(bad)) {
    expect(await refusal(authenticate(assertion)), what).toMatchObject({
      reason: "INVALID_CLIENT",
      message: "The client authentication failed.",
    });
  }
  const grant = (assertion: string) =>
    callers.token.grantJwtBearer({ assertion, wanted: undefined });
  const forBearer = await signer.sign(claims, { typ: "jwt-bearer+jwt" });
  expect(claimsOf((await grant(forBearer)).accessToken)["sub"]).toBe(account.name);
  expect(await refusal(grant(forBearer))).toMatchObject({ reason: "INVALID_CLIENT" });
});

test("G9 G10 user secrets use Argon2id, random ones SHA-256", async () => {
  const { default: pg } = await import("pg");
  const person = await callers.person();
  const account = await callers.account();
  const client = new pg.Client({ connectionString: cluster.databaseUrl });
  await client.connect();
  const { rows: users } = await client.query(
    `SELECT secret_hash FROM identity."user" WHERE username = $1`,
    [person.username],
  );
  expect(users[0].secret_hash).toMatch(/^\$argon2id\$v=19\$m=19456,t=2,p=1\$/);
  const { rows: accounts } = await client.query(
    "SELECT encode(secret_digest, 'hex') AS digest FROM identity.service_account WHERE id = $1",
    [account.name.slice("serviceAccounts/".length)],
  );
  expect(Buffer.from(accounts[0].digest, "hex")).toHaveLength(32);
  await client.end();
});

test("failed sign-ins look alike, whatever the reason", async () => {
  const person = await callers.person();
  const disabled = await callers.person();
  await callers.identity.updateUser(
    {
      user: { ...(await userOf(disabled.name)), disabled: true },
      updateMask: ["disabled"],
    },
    await callers.admin(),
  );
  expect((await callers.signIn(person)).refreshToken).toMatch(/^wbr_/);
  const refusals = await Promise.all([
    refusal(callers.signIn({ ...person, secret: "not his secret" })),
    refusal(callers.signIn({ username: "nobody-at-all", secret: SECRET })),
    refusal(callers.signIn(disabled)),
  ]);
  expect(refusals[0]).toMatchObject({ reason: "INVALID_GRANT" });
  expect(refusals[1]).toEqual(refusals[0]);
  expect(refusals[2]).toEqual(refusals[0]);
});

const userOf = async (name: string) => callers.identity.getUser({ name }, await callers.admin());

test("G2 a refresh token is single use and rotates", async () => {
  const { refreshToken: first } = await callers.signIn(await callers.person());
  const second = await callers.refresh(first, { key: KEY });
  const third = await callers.refresh(second.refreshToken, { key: `${KEY}2` });
  expect(new Set([first, second.refreshToken, third.refreshToken]).size).toBe(3);
  expect(await isActive(third.accessToken)).toBe(true);
});

test("G3 retries after a lost response get the same successor", async () => {
  const person = await callers.person();
  const byKey = await callers.signIn(person);
  const once = await callers.refresh(byKey.refreshToken, { key: KEY });
  const again = await callers.refresh(byKey.refreshToken, { key: KEY });
  expect(again.refreshToken).toBe(once.refreshToken);

  const { client } = await callers.account();
  const byClient = await callers.signIn(person, { client });
  const { refreshToken } = await callers.refresh(byClient.refreshToken, { client, key: KEY });
  const repeated = await callers.refresh(byClient.refreshToken, { client, key: `${KEY}2` });
  expect(repeated.refreshToken).toBe(refreshToken);

  const early = await callers.signIn(person);
  const bare = await callers.refresh(early.refreshToken);
  expect((await callers.refresh(early.refreshToken)).refreshToken).toBe(bare.refreshToken);
});

test("G4 other reuse revokes the family and its access tokens", async () => {
  const person = await callers.person();
  const reuses: ((token: string, next: string) => Promise<unknown>)[] = [
    // With another key than the first refresh, with no key, and after the successor was used.
    (token) => callers.refresh(token, { key: `${KEY}9` }),
    (token) => callers.refresh(token),
    async (token, next) => {
      await callers.refresh(next, { key: `${KEY}1` });
      return callers.refresh(token, { key: KEY });
    },
  ];
  for (const reuse of reuses) {
    const { refreshToken, accessToken } = await callers.signIn(person);
    const next = await callers.refresh(refreshToken, { key: KEY });
    expect(await isActive(accessToken)).toBe(true);
    expect(await refusal(reuse(refreshToken, next.refreshToken))).toMatchObject({
      reason: "INVALID_GRANT",
    });
    expect(await refusal(callers.refresh(next.refreshToken, { key: KEY }))).toMatchObject({
      reason: "INVALID_GRANT",
    });
    for (const dead of [accessToken, next.accessToken]) await untilInactive(dead);
    const family = `signIns/${claimsOf(accessToken)["sid"]}`;
    const request = {
      pageSize: 0,
      pageToken: "",
      actor: "",
      target: family,
      action: "token.reuse",
    };
    const { auditEvents } = await callers.token.listAuditEvents(request, await callers.admin());
    expect(auditEvents).toHaveLength(1);
    expect(auditEvents[0]).toMatchObject({ actor: person.name, outcome: "INVALID_GRANT" });
    // The replica logs an alarm for operators.
    const alarms = cluster
      .status()
      .replicas.flatMap(({ number }) =>
        readFileSync(join(cluster.dataDir, "logs", `replica-${number}.log`), "utf8").split("\n"),
      )
      .filter((line) => line.includes("refresh token reused"))
      .map((line) => JSON.parse(line));
    const alarm = alarms.find((each) => `signIns/${each.family}` === family);
    expect(alarm).toMatchObject({ level: 40, subject: person.name });
  }
});

test("a keyless client may lose four responses running", async () => {
  let { refreshToken } = await callers.signIn(await callers.person());
  for (let generation = 1; generation <= 4; generation += 1) {
    const next = await callers.refresh(refreshToken);
    expect((await callers.refresh(refreshToken)).refreshToken).toBe(next.refreshToken);
    refreshToken = next.refreshToken;
  }
  const last = await callers.refresh(refreshToken);
  expect(await refusal(callers.refresh(refreshToken))).toMatchObject({ reason: "INVALID_GRANT" });
  expect(await refusal(callers.refresh(last.refreshToken))).toMatchObject({
    reason: "INVALID_GRANT",
  });
});

test("G5 a refresh token requires its client and grant", async () => {
  const person = await callers.person();
  const { client } = await callers.account();
  const { client: other } = await callers.account();
  const wanted = { scopes: [], audiences: ["checkout"], mayAct: "" };
  const { refreshToken } = await callers.signIn(person, { client, wanted });
  for (const stranger of [other, undefined]) {
    const attempt = callers.refresh(refreshToken, { ...(stranger && { client: stranger }) });
    expect(await refusal(attempt)).toMatchObject({ reason: "INVALID_GRANT" });
  }
  const { accessToken, audiences } = await callers.refresh(refreshToken, { client, key: KEY });
  expect(audiences).toEqual(["checkout"]);
  expect(claimsOf(accessToken)["aud"]).toEqual(["checkout"]);
  const wider = { scopes: [], audiences: ["checkout", "identity"], mayAct: "" };
  const attempt = callers.refresh(refreshToken, { client, key: KEY, wanted: wider });
  expect(await refusal(attempt)).toMatchObject({
    reason: "INVALID_SCOPE",
    metadata: { audiences: "identity" },
  });
});

test("G6 a refresh token idles out, never outlives its family", async () => {
  const { default: pg } = await import("pg");
  const database = new pg.Client({ connectionString: cluster.databaseUrl });
  await database.connect();
  const person = await callers.person();
  for (const column of ["idle_expires_at", "expires_at"]) {
    const { refreshToken, accessToken } = await callers.signIn(person);
    const next = await callers.refresh(refreshToken, { key: KEY });
    await database.query(
      `UPDATE token.family SET ${column} = now() - interval '1 second' WHERE id = $1`,
      [claimsOf(accessToken)["sid"]],
    );
    expect(await refusal(callers.refresh(next.refreshToken, { key: KEY })), column).toMatchObject({
      reason: "INVALID_GRANT",
    });
  }
  await database.end();
});

test("G7 S4 a changed secret, disabled account or sign-out ends sign-ins", async () => {
  const ends: ((name: string, jwt: string) => Promise<unknown>)[] = [
    async (_name, jwt) =>
      callers.identity.changeSecret(
        { oldSecret: SECRET, newSecret: "another good secret" },
        bearer(jwt),
      ),
    async (name) =>
      callers.identity.setUserSecret({ name, secret: "another secret" }, await callers.admin()),
    async (name) =>
      callers.identity.updateUser(
        { user: { ...(await userOf(name)), disabled: true }, updateMask: ["disabled"] },
        await callers.admin(),
      ),
    async (name) => callers.identity.deleteUser({ name, etag: "" }, await callers.admin()),
    async (_name, jwt) => callers.identity.endUserSessions({ name: "users/me" }, bearer(jwt)),
    async (_name, jwt) => callers.token.endSignIn({ name: "signIns/current" }, bearer(jwt)),
  ];
  for (const end of ends) {
    const person = await callers.person();
    const { accessToken, refreshToken } = await callers.signIn(person);
    const me = () => callers.identity.getUser({ name: "users/me" }, bearer(accessToken));
    expect((await me()).name).toBe(person.name);
    await end(person.name, accessToken);
    expect(await untilRefused(me), `${end}`).toMatchObject({ reason: "CREDENTIAL_INVALID" });
    expect(await refusal(callers.refresh(refreshToken, { key: KEY })), `${end}`).toMatchObject({
      reason: "INVALID_GRANT",
    });
  }
});

test("a user lists sign-ins, ends one, and all others", async () => {
  const person = await callers.person();
  const [phone, laptop, tablet] = [
    await callers.signIn(person, { device: "phone" }),
    await callers.signIn(person, { device: "laptop" }),
    await callers.signIn(person, { device: "tablet" }),
  ];
  const list = async () => {
    const request = { pageSize: 2, pageToken: "" };
    const first = await callers.token.listSignIns(request, bearer(laptop.accessToken));
    if (first.nextPageToken === "") return first.signIns;
    const more = { ...request, pageToken: first.nextPageToken };
    const rest = await callers.token.listSignIns(more, bearer(laptop.accessToken));
    return [...first.signIns, ...rest.signIns];
  };
  const devices = (await list()).map(({ device, current }) => [device, current]);
  expect(devices).toEqual([
    ["tablet", false],
    ["laptop", true],
    ["phone", false],
  ]);
  const name = `signIns/${claimsOf(phone.accessToken)["sid"]}`;
  const stranger = await callers.signIn(await callers.person());
  await callers.token.endSignIn({ name }, bearer(stranger.accessToken));
  expect(await list()).toHaveLength(3);
  await callers.token.endSignIn({ name }, bearer(laptop.accessToken));
  expect(await list()).toHaveLength(2);
  const { ended } = await callers.token.endOtherSignIns({}, bearer(laptop.accessToken));
  expect(ended).toBe(1);
  expect((await list()).map(({ device }) => device)).toEqual(["laptop"]);
  await untilInactive(tablet.accessToken);
});

test('X2 introspection of an invalid token says only "inactive"', async () => {
  const person = await callers.person();
  const { accessToken, refreshToken } = await callers.signIn(person);
  const account = await callers.account();
  const { accessToken: asking } = await callers.grant(account.client);
  const explain = (token: string) => callers.token.introspect({ token }, bearer(asking));
  expect(await explain(accessToken)).toMatchObject({ active: true, subject: person.name });
  await callers.token.endSignIn({ name: "signIns/current" }, bearer(accessToken));
  const foreign = await (await makeSigner("k")).sign({ iss: "https://other", sub: "x" });
  const inactive = await explain("nonsense");
  expect(inactive).toMatchObject({ active: false, subject: "", scopes: [], client: "" });
  await untilInactive(accessToken);
  for (const token of [accessToken, refreshToken, foreign, `${accessToken}x`]) {
    expect(await explain(token)).toEqual(inactive);
  }
  const many = await callers.token.batchIntrospect({ tokens: [asking, foreign] }, bearer(asking));
  expect(many.introspections.map(({ active }) => active)).toEqual([true, false]);
  async function* stream() {
    for (const token of [foreign, asking, foreign]) yield { token };
  }
  const answers: boolean[] = [];
  for await (const { active } of callers.token.streamIntrospect(stream(), bearer(asking))) {
    answers.push(active);
  }
  expect(answers).toEqual([false, true, false]);
});

test("X3 clients revoke unknown tokens and their own", async () => {
  const [mine, other] = [await callers.account(), await callers.account()];
  const { accessToken } = await callers.grant(mine.client);
  const person = await callers.person();
  const { refreshToken } = await callers.signIn(person, { client: mine.client });
  for (const token of ["nonsense", accessToken, refreshToken]) {
    await callers.token.revoke({ client: other.client, token });
  }
  expect(await isActive(accessToken)).toBe(true);
  const next = await callers.refresh(refreshToken, { client: mine.client, key: KEY });
  for (const token of [accessToken, next.refreshToken]) {
    await callers.token.revoke({ client: mine.client, token });
    await callers.token.revoke({ client: mine.client, token });
  }
  await untilInactive(accessToken);
  await untilInactive(next.accessToken);
});

test("P1 P2 P3 P4 a bound token requires its key", async () => {
  const person = await callers.person();
  for (const type of ["ed25519", "ec"] as const) {
    const key = new ProofKey(type);
    const bound = await callers.signIn(person, {}, key.proving(url("signIn")));
    expect(bound.tokenType).toBe("DPoP");
    const { accessToken: jwt } = bound;
    const list = (settings: Parameters<typeof callers.token.listSignIns>[1]) =>
      callers.token.listSignIns({ pageSize: 1, pageToken: "" }, settings);
    const here = url("listSignIns");
    expect((await list(key.proving(here, jwt))).signIns).toHaveLength(1);
    // The same method and token accept the proof again.
    const proof = key.proving(here, jwt);
    for (let use = 0; use < 2; use += 1) expect((await list(proof)).signIns).toHaveLength(1);

    const thief = new ProofKey(type);
    const mixed = key.proving(here, jwt);
    mixed.metadata.set("dpop", String(thief.proving(here, jwt).metadata.get("dpop")[0]));
    const without = key.proving(here, jwt);
    without.metadata.remove("dpop");
    const { accessToken: otherToken } = await callers.signIn(person);
    const bad = {
      "P3 under Bearer": bearer(jwt),
      "P3 under Bearer, with a proof": (() => {
        const settings = key.proving(here, jwt);
        settings.metadata.set("authorization", `Bearer ${jwt}`);
        return settings;
      })(),
      "without a proof": without,
      "of another key": mixed,
      "for another method": key.proving(url("endSignIn"), jwt),
      "for another host": key.proving(here.replace(callers.issuer, "http://other"), jwt),
      "for another token": (() => {
        const settings = key.proving(here, otherToken);
        settings.metadata.set("authorization", `DPoP ${jwt}`);
        return settings;
      })(),
      "an unbound token under DPoP": key.proving(here, otherToken),
    };
    for (const [what, settings] of Object.entries(bad)) {
      expect(await refusal(list(settings)), what).toMatchObject({ reason: "CREDENTIAL_INVALID" });
    }
    // Token endpoints accept a proof once.
    const once = key.proving(url("refresh"));
    const next = await callers.refresh(bound.refreshToken, { key: KEY }, once);
    expect(await refusal(callers.refresh(next.refreshToken, {}, once))).toMatchObject({
      reason: "INVALID_DPOP_PROOF",
    });
    const stolen = callers.refresh(next.refreshToken, {}, thief.proving(url("refresh")));
    expect(await refusal(stolen)).toMatchObject({ reason: "INVALID_GRANT" });
    expect(await refusal(callers.refresh(next.refreshToken))).toMatchObject({
      reason: "INVALID_GRANT",
    });
    // None of these calls revoked the family: its own key can still refresh.
    const last = await callers.refresh(next.refreshToken, {}, key.proving(url("refresh")));
    expect(last.tokenType).toBe("DPoP");
  }
});

test("E2 two proofs in one call are refused", async () => {
  const person = await callers.person();
  const key = new ProofKey();
  const signInUrl = url("signIn");
  const { accessToken: jwt } = await callers.signIn(person, {}, key.proving(signInUrl));
  const twice = (settings: { metadata: Metadata }) => {
    const [proof] = key.proving(url("listSignIns"), jwt).metadata.get("dpop");
    settings.metadata.add("dpop", proof!);
    return settings;
  };
  const duplicated = { reason: "METADATA_DUPLICATED", metadata: { key: "dpop" } };
  const listing = twice(key.proving(url("listSignIns"), jwt));
  const list = callers.token.listSignIns({ pageSize: 1, pageToken: "" }, listing);
  expect(await refusal(list)).toMatchObject(duplicated);
  const signIn = callers.signIn(person, {}, twice(key.proving(signInUrl)));
  expect(await refusal(signIn)).toMatchObject(duplicated);
});

test("P2 a proof is single use where declared", async () => {
  const { client } = await callers.account({ scopes: ["token.admin"] });
  const key = new ProofKey();
  const { accessToken: jwt } = await callers.token.grantClientCredentials(
    { client, wanted: undefined },
    key.proving(url("grantClientCredentials")),
  );
  const rotate = (settings: { metadata: Metadata }) =>
    callers.token.rotateSigningKey({ algorithm: "ES256" }, settings);
  const proof = key.proving(url("rotateSigningKey"), jwt);
  expect((await rotate(proof)).state).toBe(1);
  expect(await refusal(rotate(proof))).toMatchObject({ reason: "CREDENTIAL_INVALID" });
  await rotate(key.proving(url("rotateSigningKey"), jwt));
});

test("an account that requires bound tokens gets no others", async () => {
  const { client } = await callers.account({ requireBinding: true });
  expect(await refusal(callers.grant(client))).toMatchObject({ reason: "BINDING_REQUIRED" });
  const key = new ProofKey();
  const settings = key.proving(url("grantClientCredentials"));
  const { tokenType } = await callers.token.grantClientCredentials(
    { client, wanted: undefined },
    settings,
  );
  expect(tokenType).toBe("DPoP");
});

// Runs last: the front proxy has not had its twenty minutes to fetch the new key.
test("a signing key publishes, signs, retires; its tokens verify", async () => {
  const { default: pg } = await import("pg");
  const { SigningKey_State: State } = await import("#proto/waybill/token/v1/token.ts");
  const { client } = await callers.account({ scopes: ["token.admin"] });
  const direct = cluster
    .status()
    .replicas.map(({ address }) => new Callers(address, cluster.status().adminSecretFile));
  const [replica] = direct as [Callers];
  const { accessToken: before } = await replica.grant(client);
  const list = async () =>
    (await replica.token.listSigningKeys({}, bearer(before))).signingKeys.map(
      ({ name, state, algorithm }) => ({ name, state, algorithm }),
    );
  const made = await replica.token.rotateSigningKey({ algorithm: "ES256" }, bearer(before));
  expect(made).toMatchObject({ state: State.STATE_PENDING, algorithm: "ES256" });
  expect(made.activateTime!.getTime() - made.createTime!.getTime()).toBe(1_200_000);
  const kidOf = (jwt: string) =>
    `signingKeys/${JSON.parse(Buffer.from(jwt.split(".")[0]!, "base64url").toString()).kid}`;
  const old = { name: kidOf(before), algorithm: "EdDSA" };
  expect(await list()).toContainEqual({ ...old, state: State.STATE_ACTIVE });
  const kid = made.name.slice("signingKeys/".length);
  for (const each of direct) {
    // Every replica publishes it, within seconds.
    const isPublished = async () => (await each.token.getJwks({})).data.toString().includes(kid);
    await waitFor("every replica to publish the key", isPublished);
  }
  expect(kidOf((await replica.grant(client)).accessToken)).toBe(old.name);

  // Skips the twenty minutes.
  const database = new pg.Client({ connectionString: cluster.databaseUrl });
  await database.connect();
  await database.query(
    "UPDATE token.signing_key SET activates_at = now() - interval '1 second' WHERE id = $1",
    [made.name.slice("signingKeys/".length)],
  );
  await database.end();
  expect(await list()).toEqual(
    expect.arrayContaining([
      { name: made.name, algorithm: "ES256", state: State.STATE_ACTIVE },
      { ...old, state: State.STATE_RETIRED },
    ]),
  );
  const { accessToken: after } = await replica.grant(client);
  expect(kidOf(after)).toBe(made.name);
  for (const each of direct) {
    for (const jwt of [before, after]) {
      const { signIns } = await each.token.listSignIns({ pageSize: 1, pageToken: "" }, bearer(jwt));
      expect(signIns).toEqual([]);
    }
    each.close();
  }
});
