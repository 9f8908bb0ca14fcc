import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { Exchange } from "#proto/waybill/identity/v1/identity.ts";
import { type ExchangeRequest, TokenKind } from "#proto/waybill/token/v1/token.ts";
import { ServiceTokens } from "#shared/callers/serviceTokens.ts";
import { loadCredentials } from "#shared/credentials/credentials.ts";
import { type Account, bearer, Callers, claimsOf, makeSigner } from "../fixtures/callers.ts";
import { contract, makeClients } from "../fixtures/clients.ts";
import { startTestCluster, type TestCluster } from "../fixtures/cluster.ts";
import {
  type ExternalIssuer,
  SERVICE_ACCOUNT,
  startExternalIssuer,
} from "../fixtures/externalIssuer.ts";
import { refusal, untilRefused } from "../fixtures/refusal.ts";
import { ADDRESS } from "../fixtures/shopper.ts";

let cluster: TestCluster;
let callers: Callers;
let delegate: Account;
let impersonator: Account;

beforeAll(async () => {
  cluster = await startTestCluster();
  callers = new Callers(cluster.target, cluster.status().adminSecretFile);
  delegate = await callers.account({ exchange: Exchange.EXCHANGE_DELEGATION });
  impersonator = await callers.account({ exchange: Exchange.EXCHANGE_IMPERSONATION });
});
afterAll(async () => {
  callers?.close();
  await cluster?.remove();
});

const exchange = (subjectToken: string, changes: Partial<ExchangeRequest> = {}) =>
  callers.token.exchange({
    client: impersonator.client,
    subjectToken,
    subjectTokenType: TokenKind.TOKEN_KIND_ACCESS_TOKEN,
    actorToken: "",
    wanted: undefined,
    impersonate: false,
    ...changes,
  });

test("X1 an exchanged token is never wider or longer than its subject's, and says who acts", async () => {
  const person = await callers.person();
  const wanted = { scopes: [], audiences: ["checkout", "session"], mayAct: "" };
  const { accessToken: subject } = await callers.signIn(person, { wanted });
  const before = claimsOf(subject);
  const { accessToken } = await exchange(subject, {
    wanted: { scopes: [], audiences: ["checkout"], mayAct: "" },
  });
  const after = claimsOf(accessToken);
  expect(after).toMatchObject({
    sub: person.name,
    aud: ["checkout"],
    act: { sub: impersonator.name },
    client_id: impersonator.name,
    // With the sign-in that it descends from it ends.
    sid: before["sid"],
    epoch: before["epoch"],
  });
  expect(after["exp"]).toBeLessThanOrEqual(before["exp"] as number);
  for (const wider of [
    { scopes: [], audiences: ["identity"], mayAct: "" },
    { scopes: ["audit.read"], audiences: [], mayAct: "" },
  ]) {
    expect(await refusal(exchange(subject, { wanted: wider }))).toMatchObject({
      reason: "INVALID_SCOPE",
    });
  }
  const again = claimsOf((await exchange(accessToken)).accessToken);
  expect(again["act"]).toEqual({ sub: impersonator.name, act: { sub: impersonator.name } });
  await callers.token.endOtherSignIns({}, bearer((await callers.signIn(person)).accessToken));
  expect(await untilRefused(() => exchange(accessToken))).toMatchObject({
    reason: "INVALID_GRANT",
  });
});

test("X1 impersonation and delegation are for those who may", async () => {
  const { accessToken: subject } = await callers.signIn(await callers.person());
  const hidden = await exchange(subject, { impersonate: true });
  expect(claimsOf(hidden.accessToken)["act"]).toBeUndefined();
  const none = await callers.account();
  for (const [client, impersonate] of [
    [none.client, false],
    // The token was given neither to it nor for it.
    [delegate.client, false],
    [delegate.client, true],
  ] as const) {
    expect(await refusal(exchange(subject, { client, impersonate }))).toMatchObject({
      reason: "UNAUTHORIZED_CLIENT",
    });
  }
  const { accessToken: own } = await callers.signIn(await callers.person(), {
    client: delegate.client,
  });
  const narrowed = await exchange(own, { client: delegate.client });
  expect(claimsOf(narrowed.accessToken)["act"]).toEqual({ sub: delegate.name });
  const actor = await callers.grant(none.client);
  // Whose token it is not, he does not speak for.
  expect(await refusal(exchange(subject, { actorToken: actor.accessToken }))).toMatchObject({
    reason: "INVALID_GRANT",
  });
  expect(await refusal(exchange(subject, { client: undefined }))).toMatchObject({
    reason: "INVALID_CLIENT",
  });
});

test("X1 whom a token names as the one who may act, and nobody else, acts with it", async () => {
  const person = await callers.person();
  const mayAct = delegate.name;
  const wanted = { scopes: [], audiences: [], mayAct };
  const { accessToken, refreshToken } = await callers.signIn(person, { wanted });
  expect(claimsOf(accessToken)["may_act"]).toEqual({ sub: mayAct });
  const acting = await exchange(accessToken, { client: delegate.client });
  expect(claimsOf(acting.accessToken)).toMatchObject({
    act: { sub: mayAct },
    may_act: { sub: mayAct },
  });
  // Nor does he hand that on to another.
  const handedOn = await exchange(accessToken, {
    client: delegate.client,
    wanted: { scopes: [], audiences: [], mayAct: impersonator.name },
  });
  expect(claimsOf(handedOn.accessToken)["may_act"]).toEqual({ sub: mayAct });
  for (const impersonate of [true, false]) {
    expect(await refusal(exchange(accessToken, { impersonate }))).toMatchObject({
      reason: "UNAUTHORIZED_CLIENT",
    });
  }
  const renewed = await callers.refresh(refreshToken, { wanted });
  expect(claimsOf(renewed.accessToken)["may_act"]).toEqual({ sub: mayAct });
  const own = await callers.grant(impersonator.client, wanted);
  expect(claimsOf(own.accessToken)["may_act"]).toEqual({ sub: mayAct });
});

test("a service calls the next one on its caller's behalf, and its own tokens are its own", async () => {
  const credentials = loadCredentials(`${cluster.dataDir}/secrets/credentials`);
  const { issuer } = callers;
  const own = { contract, target: cluster.target, issuer, service: "checkout", credentials };
  const tokens = new ServiceTokens(own);
  // Many who wait make one request.
  const waiting = await Promise.all(Array.from({ length: 50 }, () => tokens.own("catalog")));
  expect(new Set(waiting).size).toBe(1);
  expect(claimsOf(waiting[0]!)).toMatchObject({ sub: "services/checkout", aud: ["catalog"] });
  const person = await callers.person();
  const { accessToken } = await callers.signIn(person);
  const acting = claimsOf(await tokens.onBehalfOf(accessToken, "identity"));
  expect(acting).toMatchObject({ sub: person.name, act: { sub: "services/checkout" } });
  // Somebody who never called checkout is none on whose behalf it could call.
  const wanted = { scopes: [], audiences: ["identity"], mayAct: "" };
  const { accessToken: elsewhere } = await callers.signIn(person, { wanted });
  expect(await refusal(tokens.onBehalfOf(elsewhere, "identity"))).toMatchObject({
    reason: "UNAUTHORIZED_CLIENT",
  });
  tokens.close();

  const clients = makeClients(cluster.target, { withJar: false });
  let waybill = "";
  const { metadata } = bearer(accessToken);
  const onMetadata = (reply: { get(key: string): unknown[] }) => {
    waybill = String(reply.get("waybill")[0]);
  };
  await clients.checkout.beginCheckout({}, { metadata, onMetadata });
  metadata.set("waybill", waybill);
  const placed = await clients.checkout.setAddress({ address: ADDRESS }, { metadata });
  expect(placed.address?.recipients).toEqual(["Ada"]);
  clients.close();
  const request = { pageSize: 1, pageToken: "", actor: "", target: person.name, action: "" };
  const { auditEvents } = await callers.token.listAuditEvents(request, await callers.admin());
  expect(auditEvents[0]).toMatchObject({ action: "token.exchange", actor: "services/checkout" });
});

let external: ExternalIssuer;
beforeEach(async () => {
  external = await startExternalIssuer();
  return () => external.close();
});
const exchangeJwt = (subjectToken: string) =>
  exchange(subjectToken, { client: undefined, subjectTokenType: TokenKind.TOKEN_KIND_JWT });

test("X5 a cluster's service-account token becomes an access token, with no secret anywhere", async () => {
  const account = await callers.account();
  await external.trust(callers, account.name);
  const token = await external.sign({ aud: callers.issuer });
  for (const grant of [exchangeJwt, assertionGrant]) {
    const { accessToken } = await grant(token);
    expect(claimsOf(accessToken)).toMatchObject({ sub: account.name, client_id: account.name });
  }
  // What is given for it does not outlive it.
  const exp = Math.floor(Date.now() / 1000) + 100;
  const { accessToken: short } = await exchangeJwt(
    await external.sign({ aud: callers.issuer, exp }),
  );
  expect(claimsOf(short)["exp"]).toBe(exp);
  await external.rotate();
  // A key that is not known yet is asked for at once, by each replica.
  for (let call = 0; call < 4; call += 1) {
    const next = await external.sign({ aud: callers.issuer });
    expect((await exchangeJwt(next)).accessToken).not.toBe("");
  }
  expect(external.requests()).toBeLessThanOrEqual(4);
});
const assertionGrant = (assertion: string) =>
  callers.token.grantJwtBearer({ assertion, wanted: undefined });

test("X5 an issuer is matched to the letter, and its tokens say all that they must", async () => {
  const account = await callers.account();
  await external.trust(callers, account.name, {
    bindings: [
      {
        claims: { sub: SERVICE_ACCOUNT, "kubernetes.io.namespace": "shop" },
        serviceAccount: account.name,
      },
    ],
  });
  const aud = callers.issuer;
  expect((await exchangeJwt(await external.sign({ aud }))).accessToken).not.toBe("");
  const now = Math.floor(Date.now() / 1000);
  const stranger = await makeSigner("k1", "RS256");
  const bad: Record<string, string> = {
    "another issuer": await external.sign({ aud, iss: `${external.issuer}/` }),
    "another case": await external.sign({ aud, iss: external.issuer.toUpperCase() }),
    "another audience": await external.sign({ aud: "https://other" }),
    "no audience": await external.sign(),
    expired: await external.sign({ aud, exp: now - 61 }),
    "not yet good": await external.sign({ aud, nbf: now + 120 }),
    "no end": await external.sign({ aud, exp: undefined }),
    "another account": await external.sign({ aud, sub: "system:serviceaccount:shop:other" }),
    "another namespace": await external.sign({ aud, "kubernetes.io": { namespace: "x" } }),
    "claims that are no object": await external.sign({ aud, "kubernetes.io": "shop" }),
    "a key of its own": await external.sign({ aud }, { jwk: stranger.jwk }),
    "an address of keys of its own": await external.sign({ aud }, { jku: external.jwksUri }),
    "a certificate's address": await external.sign({ aud }, { x5u: external.jwksUri }),
    "a type of ours": await external.sign({ aud }, { typ: "at+jwt" }),
    "a stranger's key": await stranger.sign({ aud, iss: external.issuer, sub: SERVICE_ACCOUNT }),
    "an algorithm that is not the issuer's": await (await makeSigner("k1", "ES256")).sign({
      aud,
      iss: external.issuer,
      sub: SERVICE_ACCOUNT,
    }),
    "no signature": (await external.sign({ aud })).replace(/\.[^.]*$/, "."),
  };
  for (const [what, token] of Object.entries(bad)) {
    expect(await refusal(exchangeJwt(token)), what).toMatchObject({ reason: "INVALID_GRANT" });
  }
});

test("X5 whatever stands in the place of an issuer's keys is bounded, and refused", async () => {
  const answers: Record<string, Parameters<ExternalIssuer["answer"]>[0]> = {
    "a redirect": (_request, response) => {
      response.writeHead(302, { location: external.jwksUri }).end();
    },
    "no end": (_request, response) => {
      response.write("{");
    },
    silence: () => {},
    "far too much": (_request, response) => {
      const part = "x".repeat(64 * 1024);
      const more = () => {
        while (!response.destroyed && response.write(part)) {}
        if (!response.destroyed) response.once("drain", more);
      };
      more();
    },
    "no JSON": (_request, response) => {
      response.end("<html>");
    },
    "no set": (_request, response) => {
      response.end("[]");
    },
    "an error": (_request, response) => {
      response.writeHead(500).end();
    },
  };
  for (const [what, answer] of Object.entries(answers)) {
    await external.close();
    external = await startExternalIssuer();
    const account = await callers.account();
    await external.trust(callers, account.name);
    external.answer(answer);
    const token = await external.sign({ aud: callers.issuer });
    expect(await refusal(exchangeJwt(token)), what).toMatchObject({ reason: "ISSUER_UNAVAILABLE" });
    expect(external.requests(), what).toBe(1);
  }
  // An authority that does not vouch for it.
  const account = await callers.account();
  await external.close();
  external = await startExternalIssuer();
  await external.trust(callers, account.name, { caCertificate: "" });
  const token = await external.sign({ aud: callers.issuer });
  expect(await refusal(exchangeJwt(token))).toMatchObject({ reason: "ISSUER_UNAVAILABLE" });
  expect(external.requests()).toBe(0);
});

test("X5 thousands of tokens with unknown keys cost an issuer one request", async () => {
  const account = await callers.account();
  await external.trust(callers, account.name);
  await exchangeJwt(await external.sign({ aud: callers.issuer }));
  const [head = "", ...rest] = (await external.sign({ aud: callers.issuer })).split(".");
  const header = JSON.parse(Buffer.from(head, "base64url").toString("utf8"));
  const forged = Array.from({ length: 2000 }, (_, number) => {
    const other = Buffer.from(JSON.stringify({ ...header, kid: `invented-${number}` }));
    return [other.toString("base64url"), ...rest].join(".");
  });
  const reasons = await Promise.all(forged.map((token) => refusal(exchangeJwt(token))));
  expect(new Set(reasons.map(({ reason }) => reason))).toEqual(new Set(["INVALID_GRANT"]));
  // One each for two replicas, and what they had asked for before.
  expect(external.requests()).toBeLessThanOrEqual(4);
  expect((await exchangeJwt(await external.sign({ aud: callers.issuer }))).accessToken).not.toBe(
    "",
  );
});
