import { Client, credentials, Metadata, type ServiceError, status } from "@grpc/grpc-js";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type ErrorReport, type MethodContract, readError } from "waybill";
import { Access } from "#proto/waybill/options/v1/options.ts";
import { bearer, Callers, makeSigner } from "../support/callers/callers.ts";
import { contract } from "../support/clients.ts";
import { startTestCluster, type TestCluster } from "../support/cluster.ts";

let cluster: TestCluster;
let callers: Callers;
let frontProxy: Client;
let replica: Client;

beforeAll(async () => {
  cluster = await startTestCluster();
  callers = new Callers(cluster.target, cluster.status().adminSecretFile);
  frontProxy = new Client(cluster.target, credentials.createInsecure());
  replica = new Client(cluster.status().replicas[0]!.address, credentials.createInsecure());
});
afterAll(async () => {
  frontProxy?.close();
  replica?.close();
  callers?.close();
  await cluster?.remove();
});

/** Calls a method with an empty request. @returns the error; undefined on success */
function call(client: Client, method: MethodContract, metadata: Metadata) {
  return new Promise<ErrorReport | undefined>((resolve) => {
    const deadline = { deadline: Date.now() + 10_000 };
    const same = (bytes: Buffer) => bytes;
    const stream = client.makeBidiStreamRequest(method.path, same, same, metadata, deadline);
    stream.on("data", () => {});
    stream.on("error", (error: ServiceError) => resolve(readError(error)));
    stream.on("end", () => resolve(undefined));
    stream.end(Buffer.alloc(0));
  });
}

const ours = contract.methods.filter(({ service }) => service.startsWith("waybill."));
const authorized = (jwt: string) => bearer(jwt).metadata;

test("E4 non-public methods refuse missing and wrong tokens", async () => {
  const audiences = [...new Set(ours.flatMap(({ audience }) => audience ?? []))];
  const narrow = await callers.account({ scopes: ["token.introspect"], audiences });
  const { accessToken } = await callers.grant(narrow.client);
  const { accessToken: elsewhere } = await callers.grant(narrow.client, {
    scopes: [],
    audiences: ["session"],
    mayAct: "",
  });
  const forged = await (await makeSigner("k")).sign({ iss: callers.issuer, sub: "x" });
  const counts = { authenticated: 0, service: 0, scoped: 0 };
  for (const method of ours) {
    if (method.access === Access.ACCESS_PUBLIC) continue;
    const { path, scopes } = method;
    // The front proxy and the replica check credentials; neither relies on the other.
    for (const client of [frontProxy, replica]) {
      const isService = method.access === Access.ACCESS_SERVICE;
      const refused =
        isService && client === frontProxy ? { code: 12 } : { reason: "CREDENTIAL_INVALID" };
      expect(await call(client, method, new Metadata()), path).toMatchObject(refused);
      expect(await call(client, method, authorized(forged)), path).toMatchObject(refused);
      if (isService) {
        expect(await call(client, method, authorized(accessToken)), path).toMatchObject(refused);
        counts.service += 1;
        continue;
      }
      counts.authenticated += 1;
      if (method.audience !== "session") {
        expect(await call(client, method, authorized(elsewhere)), path).toMatchObject(refused);
      }
      if (scopes.some((scope) => scope !== "token.introspect")) {
        counts.scoped += 1;
        expect(await call(client, method, authorized(accessToken)), path).toMatchObject({
          reason: "ACCESS_DENIED",
          metadata: { method: path, scope: scopes[0] },
        });
      }
    }
  }
  expect(counts.authenticated).toBeGreaterThan(60);
  expect(counts.service).toBeGreaterThan(15);
  expect(counts.scoped).toBeGreaterThan(50);
});

test("the front proxy and a replica refuse alike", async () => {
  const method = contract.method("/waybill.token.v1.TokenService/ListSignIns");
  for (const metadata of [new Metadata(), authorized("a.b.c"), authorized("nonsense")]) {
    const atReplica = await call(replica, method, metadata);
    expect(await call(frontProxy, method, metadata)).toEqual(atReplica);
    expect(atReplica).toMatchObject({ domain: "waybill", reason: "CREDENTIAL_INVALID" });
  }
});

test("a flood of bad tokens reaches no replica", async () => {
  const method = contract.method("/waybill.token.v1.TokenService/ListSignIns");
  const admin = `http://127.0.0.1:${cluster.status().frontProxy!.adminPort}`;
  // Envoy fetches keys from the token service, too: at start, after a failed fetch, and on demand.
  const upstream = async (): Promise<number> => {
    const filter = "jwt_authn.jwks_fetch_|^cluster.token.upstream_rq_(total|active)$";
    const text = await (await fetch(`${admin}/stats?filter=${encodeURIComponent(filter)}`)).text();
    const count = (name: string) => Number(new RegExp(`${name}: (\\d+)`).exec(text)![1]);
    if (count("upstream_rq_active") > 0) return upstream();
    const fetched = count("jwks_fetch_success") + count("jwks_fetch_failed");
    return count("upstream_rq_total") - fetched;
  };
  const { accessToken } = await callers.grant((await callers.account()).client);
  const before = await upstream();
  const flipped = `${accessToken.slice(0, -3)}${accessToken.endsWith("AAA") ? "BBB" : "AAA"}`;
  const answers = await Promise.all(
    Array.from({ length: 500 }, () => call(frontProxy, method, authorized(flipped))),
  );
  for (const answer of answers) expect(answer).toMatchObject({ reason: "CREDENTIAL_INVALID" });
  expect(await upstream()).toBe(before);
  expect(await call(frontProxy, method, authorized(accessToken))).toBeUndefined();
  expect(await upstream()).toBe(before + 1);
});

test("a front proxy without keys answers KEYS_UNAVAILABLE", async () => {
  const keyless = await startTestCluster({ roles: ["keys", "catalog"], replicas: 1 });
  const client = new Client(keyless.target, credentials.createInsecure());
  try {
    const method = contract.method("/waybill.catalog.v1.CatalogService/UpdateProduct");
    const claims = { iss: `http://${keyless.target}`, sub: "users/u" };
    const jwt = await (await makeSigner("k")).sign(claims);
    expect(await call(client, method, authorized(jwt))).toMatchObject({
      code: status.UNAVAILABLE,
      domain: "waybill",
      reason: "KEYS_UNAVAILABLE",
    });
    // A malformed token is refused even without keys.
    expect(await call(client, method, authorized("a.b.c"))).toMatchObject({
      reason: "CREDENTIAL_INVALID",
    });
  } finally {
    client.close();
    await keyless.remove();
  }
});

test("public methods need no token and ignore bad ones", async () => {
  const catalog = contract.method("/waybill.catalog.v1.CatalogService/ListProducts");
  expect(await call(frontProxy, catalog, authorized("a.b.c"))).toBeUndefined();
  // BeginCheckout is public, but verifies a token: its subject becomes the session's owner.
  const begin = contract.method("/waybill.checkout.v1.CheckoutService/BeginCheckout");
  expect(await call(frontProxy, begin, new Metadata())).toBeUndefined();
  expect(await call(frontProxy, begin, authorized("a.b.c"))).toMatchObject({
    reason: "CREDENTIAL_INVALID",
  });
});
