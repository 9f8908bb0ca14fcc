import { readFileSync } from "node:fs";
import { join } from "node:path";
import { credentials, type Metadata } from "@grpc/grpc-js";
import { calculateJwkThumbprint, type JWK } from "jose";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { loadCredentials, ServiceTokens } from "waybill/auth";
import { type CallSettings, createClient } from "waybill/client";
import { CheckoutServiceService } from "#proto/waybill/checkout/v1/checkout.ts";
import { Exchange } from "#proto/waybill/identity/v1/identity.ts";
import {
  type ExchangeRequest,
  TokenKind,
  TokenServiceService,
} from "#proto/waybill/token/v1/token.ts";
import {
  type Account,
  bearer,
  Callers,
  claimsOf,
  makeSigner,
  ProofKey,
} from "../support/callers/callers.ts";
import { makeClientCertificate } from "../support/callers/clientCertificate.ts";
import {
  type ExternalIssuer,
  SERVICE_ACCOUNT,
  startExternalIssuer,
} from "../support/callers/externalIssuer.ts";
import { ADDRESS } from "../support/callers/shopper.ts";
import { contract, makeClients } from "../support/clients.ts";
import { startTestCluster, type TestCluster } from "../support/cluster.ts";
import { refusal, untilRefused } from "../support/refusal.ts";

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

const exchange = (
  subjectToken: string,
  changes: Partial<ExchangeRequest> = {},
  settings: CallSettings = {},
  from = callers,
) =>
  from.token.exchange(
    {
      client: impersonator.client,
      subjectToken,
      subjectTokenType: TokenKind.TOKEN_KIND_ACCESS_TOKEN,
      actorToken: "",
      wanted: undefined,
      impersonate: false,
      ...changes,
    },
    settings,
  );

/** URL of a token service method, as the `htu` of DPoP proofs names it. */
const url = (method: keyof typeof TokenServiceService) =>
  `${callers.issuer}${TokenServiceService[method].path}`;
const thumbprintOf = ({ jwk: { kty, crv, x } }: ProofKey) =>
  calculateJwkThumbprint({ kty, crv, x } as JWK);

/** Makes callers that present a client certificate to the front proxy. */
async function withCertificate(name: string) {
  const folder = join(cluster.dataDir, "secrets");
  const ca = readFileSync(join(folder, "tls", "ca.crt"));
  const { key, certificate, thumbprint } = await makeClientCertificate(folder, name);
  const target = `localhost:${cluster.status().frontProxy!.tlsPort}`;
  const shown = new Callers(target, cluster.status().adminSecretFile, callers.issuer, {
    credentials: credentials.createSsl(ca, key, certificate),
  });
  return { callers: shown, thumbprint };
}

test("X1 an exchanged token never widens and names its actor", async () => {
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
    // The new token ends with the sign-in that it descends from.
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

test("X1 only permitted clients impersonate or delegate", async () => {
  const { accessToken: subject } = await callers.signIn(await callers.person());
  const hidden = await exchange(subject, { impersonate: true });
  expect(claimsOf(hidden.accessToken)["act"]).toBeUndefined();
  const none = await callers.account();
  for (const [client, impersonate] of [
    [none.client, false],
    // The token was neither issued to this client nor names it as an actor.
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
  // The actor token belongs to another client.
  expect(await refusal(exchange(subject, { actorToken: actor.accessToken }))).toMatchObject({
    reason: "INVALID_GRANT",
  });
  expect(await refusal(exchange(subject, { client: undefined }))).toMatchObject({
    reason: "INVALID_CLIENT",
  });
});

test("X1 only the may_act actor acts with a token", async () => {
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
  // The actor cannot hand this permission on.
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

test("a service calls another on its caller's behalf", async () => {
  const secrets = loadCredentials(`${cluster.dataDir}/secrets/credentials`);
  const { issuer } = callers;
  const own = {
    ...{ contract, target: cluster.target, issuer, service: "checkout" },
    credentials: secrets,
  };
  const tokens = new ServiceTokens(own);
  // Concurrent callers share one request.
  const waiting = await Promise.all(Array.from({ length: 50 }, () => tokens.own("catalog")));
  expect(new Set(waiting).size).toBe(1);
  expect(claimsOf(waiting[0]!)).toMatchObject({ sub: "services/checkout", aud: ["catalog"] });
  const person = await callers.person();
  const { accessToken } = await callers.signIn(person);
  const acting = claimsOf(await tokens.onBehalfOf(accessToken, "identity"));
  expect(acting).toMatchObject({ sub: person.name, act: { sub: "services/checkout" } });
  // This person never called checkout: checkout cannot act on the person's behalf.
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

describe("C4 a token that is bound to a key", () => {
  const holder = new ProofKey();
  let certified: Awaited<ReturnType<typeof withCertificate>>;
  beforeAll(async () => {
    certified = await withCertificate("holder");
  });
  afterAll(() => certified?.callers.close());

  /** Makes a token of each kind of binding, for a person that signed in through a client. */
  const signedIn = async (client?: Account["client"]) => {
    const person = await callers.person();
    const more = client === undefined ? {} : { client };
    const [none, jkt, x5t] = await Promise.all([
      callers.signIn(person, more),
      callers.signIn(person, more, holder.proving(url("signIn"))),
      certified.callers.signIn(person, more),
    ]);
    expect(claimsOf(jkt.accessToken)["cnf"]).toEqual({ jkt: await thumbprintOf(holder) });
    expect(claimsOf(x5t.accessToken)["cnf"]).toEqual({ "x5t#S256": certified.thumbprint });
    return { none: none.accessToken, bound: [jkt.accessToken, x5t.accessToken] };
  };

  test.each([
    ["delegation", () => delegate.client, false],
    ["delegation by a client that may impersonate", () => impersonator.client, false],
    ["impersonation", () => impersonator.client, true],
  ] as const)("is exchanged only for a bound token: %s", async (_, clientOf, impersonate) => {
    const client = clientOf();
    const { none, bound } = await signedIn(client);
    await exchange(none, { client, impersonate });
    for (const subject of bound) {
      const request = { client, impersonate };
      expect(await refusal(exchange(subject, request))).toMatchObject({
        reason: "BINDING_REQUIRED",
      });
      // The client lacks the holder's key: the new token is bound to the client's own key.
      const own = new ProofKey();
      const proven = await exchange(subject, request, own.proving(url("exchange")));
      expect(proven.tokenType).toBe("DPoP");
      expect(claimsOf(proven.accessToken)["cnf"]).toEqual({ jkt: await thumbprintOf(own) });
      // A second exchange does not lose the binding.
      expect(await refusal(exchange(proven.accessToken, request))).toMatchObject({
        reason: "BINDING_REQUIRED",
      });
      const other = await withCertificate("client");
      const shown = await exchange(subject, request, {}, other.callers);
      expect(claimsOf(shown.accessToken)["cnf"]).toEqual({ "x5t#S256": other.thumbprint });
      other.callers.close();
    }
  });

  test("is useless after an exchange without the client's key", async () => {
    const { bound } = await signedIn();
    const own = new ProofKey();
    const { accessToken } = await exchange(bound[0]!, {}, own.proving(url("exchange")));
    const list = (settings: CallSettings) =>
      callers.token.listSignIns({ pageSize: 1, pageToken: "" }, settings);
    expect((await list(own.proving(url("listSignIns"), accessToken))).signIns).toHaveLength(1);
    const stolen = new ProofKey().proving(url("listSignIns"), accessToken);
    for (const settings of [bearer(accessToken), stolen]) {
      expect(await refusal(list(settings))).toMatchObject({ reason: "CREDENTIAL_INVALID" });
    }
  });

  test("keeps its binding as an actor token", async () => {
    const { none: subject } = await signedIn();
    const { none, bound } = await signedIn(impersonator.client);
    await exchange(subject, { actorToken: none });
    for (const actorToken of bound) {
      expect(await refusal(exchange(subject, { actorToken }))).toMatchObject({
        reason: "BINDING_REQUIRED",
      });
      const own = new ProofKey();
      const proven = await exchange(subject, { actorToken }, own.proving(url("exchange")));
      expect(claimsOf(proven.accessToken)["cnf"]).toEqual({ jkt: await thumbprintOf(own) });
    }
  });

  test("from an external issuer needs its own key", async () => {
    const account = await callers.account();
    const issuer = await startExternalIssuer();
    await issuer.trust(callers, account.name);
    const aud = callers.issuer;
    const jkt = await thumbprintOf(holder);
    const grants = {
      exchange: (subject: string, settings?: CallSettings, from?: Callers) =>
        exchange(
          subject,
          { client: undefined, subjectTokenType: TokenKind.TOKEN_KIND_JWT },
          settings,
          from,
        ),
      grantJwtBearer: (assertion: string, settings: CallSettings = {}, from = callers) =>
        from.token.grantJwtBearer({ assertion, wanted: undefined }, settings),
    };
    for (const name of ["exchange", "grantJwtBearer"] as const) {
      const grant = grants[name];
      await grant(await issuer.sign({ aud }));
      const subject = await issuer.sign({ aud, cnf: { jkt } });
      expect(await refusal(grant(subject))).toMatchObject({ reason: "BINDING_REQUIRED" });
      const stranger = new ProofKey().proving(url(name));
      expect(await refusal(grant(subject, stranger))).toMatchObject({ reason: "INVALID_GRANT" });
      const proven = await grant(subject, holder.proving(url(name)));
      expect(claimsOf(proven.accessToken)["cnf"]).toEqual({ jkt });
      const cnf = { "x5t#S256": certified.thumbprint };
      const shown = await issuer.sign({ aud, cnf });
      expect(await refusal(grant(shown))).toMatchObject({ reason: "BINDING_REQUIRED" });
      const { accessToken } = await grant(shown, {}, certified.callers);
      expect(claimsOf(accessToken)["cnf"]).toEqual(cnf);
      // A confirmation method that the server does not know cannot be checked.
      for (const unknown of [{ jwk: holder.jwk }, { jkt, kid: "k" }, {}, null, "x"]) {
        const odd = grant(await issuer.sign({ aud, cnf: unknown }), holder.proving(url(name)));
        expect(await refusal(odd)).toMatchObject({ reason: "INVALID_GRANT" });
      }
    }
    await issuer.close();
  });

  test("lets a service act with its own key", async () => {
    const { bound } = await signedIn();
    const path = (method: keyof typeof CheckoutServiceService) =>
      `${callers.issuer}${CheckoutServiceService[method].path}`;
    const settings = [
      (method: keyof typeof CheckoutServiceService) => holder.proving(path(method), bound[0]!),
      () => bearer(bound[1]!),
    ];
    for (const [kind, from] of [callers, certified.callers].entries()) {
      const client = createClient(CheckoutServiceService, from.target, {
        contract,
        ...from.options,
      });
      const { metadata } = settings[kind]!("beginCheckout");
      let waybill = "";
      const onMetadata = (reply: Metadata) => {
        waybill = String(reply.get("waybill")[0]);
      };
      await client.beginCheckout({}, { metadata, onMetadata });
      const next = settings[kind]!("setAddress").metadata;
      next.set("waybill", waybill);
      const placed = await client.setAddress({ address: ADDRESS }, { metadata: next });
      expect(placed.address?.recipients).toEqual(["Ada"]);
      client.close();
    }
  });
});

let external: ExternalIssuer;
beforeEach(async () => {
  external = await startExternalIssuer();
  return () => external.close();
});
const exchangeJwt = (subjectToken: string) =>
  exchange(subjectToken, { client: undefined, subjectTokenType: TokenKind.TOKEN_KIND_JWT });

test("X5 a cluster's service-account token becomes an access token", async () => {
  const account = await callers.account();
  await external.trust(callers, account.name);
  const token = await external.sign({ aud: callers.issuer });
  for (const grant of [exchangeJwt, assertionGrant]) {
    const { accessToken } = await grant(token);
    expect(claimsOf(accessToken)).toMatchObject({ sub: account.name, client_id: account.name });
  }
  // The issued token does not outlive the assertion.
  const exp = Math.floor(Date.now() / 1000) + 100;
  const { accessToken: short } = await exchangeJwt(
    await external.sign({ aud: callers.issuer, exp }),
  );
  expect(claimsOf(short)["exp"]).toBe(exp);
  await external.rotate();
  // Each replica fetches the keys at once when it sees an unknown key id.
  for (let call = 0; call < 4; call += 1) {
    const next = await external.sign({ aud: callers.issuer });
    expect((await exchangeJwt(next)).accessToken).not.toBe("");
  }
  expect(external.requests()).toBeLessThanOrEqual(4);
});
const assertionGrant = (assertion: string) =>
  callers.token.grantJwtBearer({ assertion, wanted: undefined });

test("X5 issuers match exactly; their tokens need every claim", async () => {
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

test("X5 an issuer's malformed or oversized keys are refused", async () => {
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
  // This CA did not sign the issuer's certificate.
  const account = await callers.account();
  await external.close();
  external = await startExternalIssuer();
  await external.trust(callers, account.name, { caCertificate: "" });
  const token = await external.sign({ aud: callers.issuer });
  expect(await refusal(exchangeJwt(token))).toMatchObject({ reason: "ISSUER_UNAVAILABLE" });
  expect(external.requests()).toBe(0);
});

test("X5 good tokens get ISSUER_UNAVAILABLE while their issuer is unreachable", async () => {
  const account = await callers.account();
  await external.trust(callers, account.name);
  const aud = callers.issuer;
  const fail = () =>
    external.answer((_request, response) => {
      response.writeHead(500).end();
    });
  const reasonsOf = async (token: string) => {
    // Six concurrent calls, and six more after the fetch has failed on every replica.
    const reasons: string[] = [];
    for (let round = 0; round < 2; round += 1) {
      const calls = Array.from({ length: 6 }, () => refusal(exchangeJwt(token)));
      for (const { reason } of await Promise.all(calls)) reasons.push(reason);
    }
    return new Set(reasons);
  };
  fail();
  expect(await reasonsOf(await external.sign({ aud }))).toEqual(new Set(["ISSUER_UNAVAILABLE"]));
  expect(external.requests()).toBeLessThanOrEqual(2);

  // The same with a new key, while the earlier keys are cached.
  await external.close();
  external = await startExternalIssuer();
  await external.trust(callers, account.name);
  const before = await external.sign({ aud });
  for (let call = 0; call < 4; call += 1) await exchangeJwt(before);
  await external.rotate();
  fail();
  const after = await external.sign({ aud });
  expect(await reasonsOf(after)).toEqual(new Set(["ISSUER_UNAVAILABLE"]));
  expect((await exchangeJwt(before)).accessToken).not.toBe("");
  expect(external.requests()).toBeLessThanOrEqual(4);
});

test("X5 unknown key ids cost an issuer one request", async () => {
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
  // One request from each of two replicas, and their earlier ones.
  expect(external.requests()).toBeLessThanOrEqual(4);
  expect((await exchangeJwt(await external.sign({ aud: callers.issuer }))).accessToken).not.toBe(
    "",
  );
});
