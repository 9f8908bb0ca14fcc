import { randomUUID } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { SignJWT } from "jose";
import { afterAll, beforeAll, expect, test } from "vitest";
import { loadCredentials } from "waybill/auth";
import {
  type ClientAuthentication,
  TokenKind,
  TokenServiceService,
} from "#proto/waybill/token/v1/token.ts";
import { PROJECT } from "../../deploy/local/paths.ts";
import {
  type Account,
  assertionOf,
  bearer,
  Callers,
  makeSigner,
  type Person,
  ProofKey,
} from "../support/callers/callers.ts";
import { type ExternalIssuer, startExternalIssuer } from "../support/callers/externalIssuer.ts";
import { type Clients, makeClients } from "../support/clients.ts";
import { startTestCluster, type TestCluster } from "../support/cluster.ts";
import { nonCanonical } from "../support/wire/nonCanonical.ts";

let cluster: TestCluster;
let callers: Callers;
let clients: Clients;
let external: ExternalIssuer;
let signer: Awaited<ReturnType<typeof makeSigner>>;
let account: Account;
let person: Person;

beforeAll(async () => {
  cluster = await startTestCluster();
  callers = new Callers(cluster.target, cluster.status().adminSecretFile);
  clients = makeClients(cluster.target, { withJar: false });
  signer = await makeSigner("k1");
  account = await callers.account({ jwks: signer.jwks });
  person = await callers.person();
  external = await startExternalIssuer();
  await external.trust(callers, account.name);
});
afterAll(async () => {
  await external?.close();
  clients?.close();
  callers?.close();
  await cluster?.remove();
});

/** Signs a JWT with a service's own key, as only services can. */
async function byService(service: string, typ: string, aud: string): Promise<string> {
  const folder = join(cluster.dataDir, "secrets", "credentials");
  const key = await loadCredentials(folder).own(service);
  return new SignJWT({ cnf: {}, ring: "", jkt: "" })
    .setProtectedHeader({ alg: "EdDSA", typ, kid: service })
    .setIssuer(service)
    .setSubject(service)
    .setAudience(aud)
    .setIssuedAt()
    .setExpirationTime("60s")
    .setJti(randomUUID())
    .sign(key);
}

const proofKey = new ProofKey();
const url = (path: string) => `${callers.issuer}${path}`;

/** Makes a valid token of every kind. Add new kinds here. */
const KINDS: Record<string, () => Promise<string>> = {
  "at+jwt": async () => (await callers.grant(account.client)).accessToken,
  refresh: async () => (await callers.signIn(person)).refreshToken,
  waybill: async () => {
    let waybill = "";
    await clients.checkout.beginCheckout(
      {},
      {
        onMetadata: (reply) => {
          waybill = String(reply.get("waybill")[0]);
        },
      },
    );
    return waybill;
  },
  cursor: async () => (await list("")).nextPageToken,
  "dpop+jwt": async () =>
    String(
      proofKey
        .proving(url(TokenServiceService.grantClientCredentials.path))
        .metadata.get("dpop")[0],
    ),
  "client-authentication+jwt": () =>
    signer.sign(assertionOf(account.name, callers.issuer), { typ: "client-authentication+jwt" }),
  "jwt-bearer+jwt": () =>
    signer.sign(assertionOf(account.name, callers.issuer), { typ: "jwt-bearer+jwt" }),
  external: () => external.sign({ aud: callers.issuer }),
  "waybill-service+jwt": () =>
    byService("checkout", "waybill-service+jwt", TokenServiceService.listSignIns.path),
  "waybill-ring+jwt": () => byService("keys", "waybill-ring+jwt", "checkout"),
};

function list(pageToken: string) {
  return clients.catalog.listProducts({ pageSize: 1, pageToken, filter: "", orderBy: "" });
}

const asClient = (assertion: string): ClientAuthentication => ({
  client: "",
  proof: { $case: "assertion", value: assertion },
});

/** Every place that accepts a token, with the kinds that it accepts. */
const PLACES: Record<string, { takes: string[]; put: (token: string) => Promise<unknown> }> = {
  "authorization of a method": {
    takes: ["at+jwt"],
    put: (token) => callers.token.listSignIns({ pageSize: 1, pageToken: "" }, bearer(token)),
  },
  "authorization of a session": {
    takes: ["at+jwt"],
    put: (token) => clients.checkout.beginCheckout({}, bearer(token)),
  },
  refresh: { takes: ["refresh"], put: (token) => callers.refresh(token) },
  "metadata waybill": {
    takes: ["waybill"],
    put: (token) => {
      const { metadata } = bearer("");
      metadata.remove("authorization");
      metadata.set("waybill", token);
      return clients.checkout.getCheckout({}, { metadata });
    },
  },
  "page token": { takes: ["cursor"], put: list },
  "metadata dpop": {
    takes: ["dpop+jwt"],
    put: (token) => {
      const { metadata } = bearer("");
      metadata.remove("authorization");
      metadata.set("dpop", token);
      return callers.token.grantClientCredentials(
        { client: account.client, wanted: undefined },
        { metadata },
      );
    },
  },
  "client authentication": {
    takes: ["client-authentication+jwt"],
    put: (token) => callers.grant(asClient(token)),
  },
  "a client's secret": {
    takes: [],
    put: (token) =>
      callers.grant({ client: account.name, proof: { $case: "secret", value: token } }),
  },
  "jwt bearer": {
    takes: ["jwt-bearer+jwt", "external"],
    put: (token) => callers.token.grantJwtBearer({ assertion: token, wanted: undefined }),
  },
  "subject token, an access token": {
    takes: ["at+jwt"],
    put: (token) => exchange(token, TokenKind.TOKEN_KIND_ACCESS_TOKEN),
  },
  "subject token, a JWT": {
    takes: ["external"],
    put: (token) => exchange(token, TokenKind.TOKEN_KIND_JWT),
  },
  "actor token": {
    takes: ["at+jwt"],
    put: async (token) =>
      exchange(await KINDS["at+jwt"]!(), TokenKind.TOKEN_KIND_ACCESS_TOKEN, token),
  },
};

async function exchange(subjectToken: string, subjectTokenType: TokenKind, actorToken = "") {
  const { client } = await exchanger;
  const request = { subjectToken, subjectTokenType, actorToken, impersonate: false };
  return callers.token.exchange({ ...request, client, wanted: undefined });
}
let exchanger: Promise<Account>;
beforeAll(async () => {
  const { name } = account;
  const admin = await callers.admin();
  const before = await callers.identity.getServiceAccount({ name }, admin);
  await callers.identity.updateServiceAccount(
    { serviceAccount: { ...before, exchange: 2 }, updateMask: ["exchange"] },
    admin,
  );
  exchanger = Promise.resolve(account);
});

test("J8 each token kind works only in its own place", async () => {
  let cells = 0;
  for (const [place, { takes, put }] of Object.entries(PLACES)) {
    for (const [kind, make] of Object.entries(KINDS)) {
      const token = await make();
      const accepted = await put(token).then(
        () => true,
        () => false,
      );
      expect(accepted, `${kind} as ${place}`).toBe(takes.includes(kind));
      cells += 1;
    }
  }
  expect(cells).toBe(Object.keys(KINDS).length * Object.keys(PLACES).length);
});

test("C5 tokens are accepted in canonical base64url only", async () => {
  for (const [place, { takes, put }] of Object.entries(PLACES)) {
    for (const kind of takes) {
      const twin = await KINDS[kind]!();
      await put(twin);
      // A fresh one, too: some kinds are accepted once.
      for (const token of [twin, await KINDS[kind]!()]) {
        for (const other of nonCanonical(token)) {
          const accepted = await put(other).then(
            () => true,
            () => false,
          );
          expect(accepted, `${kind} as ${place}: …${other.slice(-4)}`).toBe(false);
        }
      }
    }
  }
});

test("J8 the test covers every JWT type of the programs", () => {
  const types = new Set<string>();
  for (const folder of ["shared", "services"]) {
    for (const file of readdirSync(join(PROJECT, folder), { recursive: true, encoding: "utf8" })) {
      if (!file.endsWith(".ts") || file.endsWith(".test.ts")) continue;
      const text = readFileSync(join(PROJECT, folder, file), "utf8");
      for (const [, type] of text.matchAll(/"([a-z-]+\+jwt)"/g)) types.add(type!);
    }
  }
  expect(types.size).toBeGreaterThan(5);
  for (const type of types) expect(Object.keys(KINDS)).toContain(type);
});
