import { readFileSync } from "node:fs";
import { join } from "node:path";
import { credentials, type Metadata } from "@grpc/grpc-js";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Jar, MemoryStore } from "waybill/client";
import { TokenServiceService } from "#proto/waybill/token/v1/token.ts";
import { bearer, Callers, claimsOf, type Person, ProofKey } from "../support/callers/callers.ts";
import { makeClientCertificate } from "../support/callers/clientCertificate.ts";
import { type Clients, contract, makeClients } from "../support/clients.ts";
import { startTestCluster, type TestCluster } from "../support/cluster.ts";
import { refusal, untilRefused } from "../support/refusal.ts";

let cluster: TestCluster;
let callers: Callers;
let clients: Clients;
let ada: Person;

beforeAll(async () => {
  cluster = await startTestCluster();
  callers = new Callers(cluster.target, cluster.status().adminSecretFile);
  clients = makeClients(cluster.target, { withJar: false });
  ada = await callers.person();
});
afterAll(async () => {
  clients?.close();
  callers?.close();
  await cluster?.remove();
});

/** Metadata with an access token, a waybill, or both. */
function metadataWith(jwt: string | undefined, waybill?: string): Metadata {
  const { metadata } = bearer(jwt ?? "");
  if (jwt === undefined) metadata.remove("authorization");
  if (waybill !== undefined) metadata.set("waybill", waybill);
  return metadata;
}

/** Makes a call. @returns the waybill of its response */
async function waybillFrom(call: (settings: object) => Promise<unknown>): Promise<string> {
  let waybill = "";
  await call({
    onMetadata: (reply: Metadata) => {
      waybill = String(reply.get("waybill")[0] ?? "");
    },
  });
  return waybill;
}

const begin = (jwt?: string, waybill?: string) =>
  waybillFrom((settings) =>
    clients.checkout.beginCheckout({}, { ...settings, metadata: metadataWith(jwt, waybill) }),
  );
const get = (waybill: string, jwt?: string) =>
  clients.checkout.getCheckout({}, { metadata: metadataWith(jwt, waybill) });
const INVALID = { reason: "WAYBILL_INVALID" };
const REVOKED = { reason: "WAYBILL_REVOKED" };

test("K4 an owned session refuses other subjects and anonymous callers", async () => {
  const { accessToken: jwt } = await callers.signIn(ada);
  const { accessToken: other } = await callers.signIn(await callers.person());
  const { client } = await callers.account();
  const { accessToken: elsewhere } = await callers.signIn(ada, { client });
  const waybill = await begin(jwt);
  await get(waybill, jwt);
  // Another sign-in of the same subject with the same client is the same owner.
  await get(waybill, (await callers.signIn(ada)).accessToken);
  for (const stranger of [undefined, other, elsewhere]) {
    expect(await refusal(get(waybill, stranger))).toMatchObject(INVALID);
    expect(await refusal(begin(stranger, waybill))).toMatchObject(INVALID);
  }
});

test("any caller with its waybill uses an anonymous session", async () => {
  const waybill = await begin();
  await get(waybill);
  await get(waybill, (await callers.signIn(ada)).accessToken);
});

test("S1 sign-in replaces a session by a new one", async () => {
  const anonymous = await begin();
  const filled = await waybillFrom((settings) =>
    clients.checkout.addItem(
      { product: "products/7", quantity: 2 },
      { ...settings, metadata: metadataWith(undefined, anonymous) },
    ),
  );
  const { accessToken: jwt } = await callers.signIn(ada);
  const bind = (metadata: Metadata, settings = {}) =>
    clients.checkout.bindCheckout({}, { ...settings, metadata });
  expect(await refusal(bind(metadataWith(undefined, filled)))).toMatchObject({
    reason: "CREDENTIAL_INVALID",
  });
  const bound = await waybillFrom((settings) => bind(metadataWith(jwt, filled), settings));
  expect((await get(bound, jwt)).items).toMatchObject([{ product: "products/7", quantity: 2 }]);
  expect(await refusal(get(bound))).toMatchObject(INVALID);
  // The other replica refuses it, too, also in its older versions.
  for (const old of [anonymous, filled]) {
    expect(await untilRefused(() => get(old))).toMatchObject(REVOKED);
    expect(await untilRefused(() => get(old, jwt))).toMatchObject(REVOKED);
  }
  const { accessToken: thief } = await callers.signIn(await callers.person());
  expect(await refusal(bind(metadataWith(thief, bound)))).toMatchObject(INVALID);
});

test("S3 a waybill and token captured before sign-out are refused", async () => {
  const { accessToken: jwt } = await callers.signIn(ada);
  const waybill = await begin(jwt);
  await get(waybill, jwt);
  const { accessToken: stays } = await callers.signIn(ada);
  await callers.token.endSignIn({ name: "signIns/current" }, bearer(jwt));
  expect(await untilRefused(() => get(waybill, jwt))).toMatchObject({
    reason: "CREDENTIAL_INVALID",
  });
  // A revoked waybill does not prevent a new session.
  expect(await begin(stays, waybill)).not.toBe("");
  // The session descends from the sign-in that has ended: another sign-in of the owner cannot use it.
  expect(await untilRefused(() => get(waybill, stays))).toMatchObject(REVOKED);
});

test("S3 an owned session is refused after its end", async () => {
  const { accessToken: jwt } = await callers.signIn(ada);
  const waybill = await begin(jwt);
  const end = (by: string) =>
    clients.checkout.endCheckout({}, { metadata: metadataWith(by, waybill) });
  await end(jwt);
  // A retry after a lost response succeeds.
  await end(jwt);
  const { accessToken: other } = await callers.signIn(await callers.person());
  expect(await refusal(end(other))).toMatchObject(INVALID);
  expect(await untilRefused(() => get(waybill, jwt))).toMatchObject(REVOKED);
});

test("S4 disabling an account or ending all sessions applies everywhere", async () => {
  const person = await callers.person();
  for (const end of [
    (jwt: string) => callers.identity.endUserSessions({ name: "users/me" }, bearer(jwt)),
    async () => {
      const admin = await callers.admin();
      const user = await callers.identity.getUser({ name: person.name }, admin);
      await callers.identity.updateUser(
        { user: { ...user, disabled: true }, updateMask: ["disabled"] },
        admin,
      );
      await callers.identity.updateUser(
        { user: { ...user, etag: "", disabled: false }, updateMask: ["disabled"] },
        admin,
      );
    },
  ]) {
    const { accessToken: jwt } = await callers.signIn(person);
    const waybill = await begin(jwt);
    await get(waybill, jwt);
    await end(jwt);
    const { accessToken: later } = await callers.signIn(person);
    expect(await untilRefused(() => get(waybill, later))).toMatchObject(REVOKED);
  }
});

test("a session with a bound token needs its key", async () => {
  const url = (path: string) => `${callers.issuer}${path}`;
  const key = new ProofKey();
  const signInPath = TokenServiceService.signIn.path;
  const { accessToken: jwt } = await callers.signIn(ada, {}, key.proving(url(signInPath)));
  const proving = (proof: ProofKey, token: string, method: string, waybill?: string) => {
    const path = `/waybill.checkout.v1.CheckoutService/${method}`;
    const { metadata } = proof.proving(url(path), token);
    if (waybill !== undefined) metadata.set("waybill", waybill);
    return metadata;
  };
  const waybill = await waybillFrom((settings) =>
    clients.checkout.beginCheckout(
      {},
      { ...settings, metadata: proving(key, jwt, "BeginCheckout") },
    ),
  );
  const read = (metadata: Metadata) => clients.checkout.getCheckout({}, { metadata });
  await read(proving(key, jwt, "GetCheckout", waybill));
  expect(await refusal(get(waybill, (await callers.signIn(ada)).accessToken))).toMatchObject(
    INVALID,
  );
  const thief = new ProofKey();
  const stolen = await callers.signIn(ada, {}, thief.proving(url(signInPath)));
  const attempt = read(proving(thief, stolen.accessToken, "GetCheckout", waybill));
  expect(await refusal(attempt)).toMatchObject(INVALID);
});

test("P5 a certificate-bound token needs that certificate, over TLS", async () => {
  const folder = join(cluster.dataDir, "secrets");
  const ca = readFileSync(join(folder, "tls", "ca.crt"));
  const { tlsPort } = cluster.status().frontProxy!;
  const withCertificate = async (name: string | undefined) => {
    const shown = name === undefined ? undefined : await makeClientCertificate(folder, name);
    const own = credentials.createSsl(ca, shown?.key ?? null, shown?.certificate ?? null);
    return {
      thumbprint: shown?.thumbprint,
      callers: new Callers(`localhost:${tlsPort}`, cluster.status().adminSecretFile, undefined, {
        credentials: own,
      }),
    };
  };
  const [mine, other, none] = [
    await withCertificate("mine"),
    await withCertificate("other"),
    await withCertificate(undefined),
  ];
  const { accessToken: jwt, tokenType } = await mine.callers.signIn(ada);
  expect(tokenType).toBe("Bearer");
  expect(claimsOf(jwt)["cnf"]).toEqual({ "x5t#S256": mine.thumbprint });
  const list = (from: Callers, metadata = bearer(jwt).metadata) =>
    from.token.listSignIns({ pageSize: 1, pageToken: "" }, { metadata });
  expect((await list(mine.callers)).signIns).toHaveLength(1);
  const invalid = { reason: "CREDENTIAL_INVALID" };
  for (const from of [other.callers, none.callers, callers]) {
    expect(await refusal(list(from))).toMatchObject(invalid);
  }
  // Neither the front proxy nor a replica trusts a certificate header that the caller sends.
  const forged = bearer(jwt).metadata;
  const hex = Buffer.from(mine.thumbprint!, "base64url").toString("hex");
  forged.set("x-forwarded-client-cert", `Hash=${hex}`);
  forged.set("x-waybill-front-proxy", "guessed");
  const direct = new Callers(
    cluster.status().replicas[0]!.address,
    cluster.status().adminSecretFile,
  );
  for (const from of [none.callers, callers, direct]) {
    expect(await refusal(list(from, forged))).toMatchObject(invalid);
  }
  for (const { callers: each } of [mine, other, none]) each.close();
  direct.close();
});

test("the jar signs in, renews and signs out", async () => {
  const store = new MemoryStore();
  const jar = new Jar({
    contract,
    store,
    signIn: { target: cluster.target, origin: callers.issuer },
  });
  const { checkout, close } = makeClients(cluster.target, { jar });
  await checkout.beginCheckout({});
  await checkout.addItem({ product: "products/7" });
  expect(jar.isSignedIn).toBe(false);
  await jar.signIn(ada.username, ada.secret, "laptop");
  expect((await checkout.bindCheckout({})).items).toHaveLength(1);
  await checkout.addItem({ product: "products/8" });
  const waybill = jar.peek("checkout")!;
  expect(await refusal(get(waybill))).toMatchObject(INVALID);
  // The jar refreshes a token that was revoked early, and retries the call.
  const held = JSON.parse(store.get("sign-in/tokens")!) as { accessToken: string };
  const before = held.accessToken;
  await callers.token.revoke({ client: undefined, token: before });
  for (let call = 0; call < 20; call += 1) await checkout.addItem({ product: "products/9" });
  expect(JSON.parse(store.get("sign-in/tokens")!).accessToken).not.toBe(before);
  await jar.signOut();
  expect(jar.isSignedIn).toBe(false);
  expect(jar.peek("checkout")).toBeUndefined();
  await expect(jar.signIn(ada.username, "not his secret")).rejects.toThrow("UNAUTHENTICATED");
  close();
  jar.close();
});
