import { execFile } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { Metadata } from "@grpc/grpc-js";
import { afterAll, beforeAll, expect, test } from "vitest";
import { CatalogServiceService, Product } from "#proto/waybill/catalog/v1/catalog.ts";
import { Errors } from "#shared/errors.ts";
import { Server } from "#shared/server/server.ts";
import { Endpoints } from "../../deploy/local/envoy/endpoints.ts";
import { type Envoy, startEnvoy } from "../../deploy/local/envoy/envoy.ts";
import { envoyBinary } from "../../deploy/local/envoy/envoyBinary.ts";
import { Children } from "../../deploy/local/processes/children.ts";
import { freePort } from "../../deploy/local/processes/ports.ts";
import { makeCertificates } from "../../deploy/local/secrets/authority.ts";
import { toolPath } from "../../deploy/local/tools.ts";
import { type Clients, contract, makeClients } from "../support/clients.ts";
import { refusal } from "../support/refusal.ts";
import { REST_OF_CATALOG } from "../support/servers/catalogHandlers.ts";

/** A real Envoy with the cluster's configuration, before a server that records its requests. */
const folder = mkdtempSync(join(tmpdir(), "waybill-front-proxy-"));
const children = new Children();
let server: Server;
let place: Parameters<typeof startEnvoy>[1];
let envoy: Envoy;
let target: string;
let clients: Clients;

/** How the server handles the next calls. */
const SECRET = "the-secret-of-the-front-proxy-of-this-test";
/** Handles calls that reach the server; each test sets it. */
let answer: (name: string, metadata: Metadata) => Promise<Product>;
const product = (name: string) => Product.create({ name });

beforeAll(async () => {
  server = new Server({ contract, maxCalls: 5000 }).add(CatalogServiceService, {
    getProduct: ({ name }, { metadata }) => answer(name, metadata),
    ...REST_OF_CATALOG,
  });
  const port = await server.listen("127.0.0.1:0");
  server.serving(true);
  const clusters = ["identity", "token", "session", "catalog", "checkout", "any"];
  const endpoints = new Endpoints(folder, clusters);
  const replica = { address: `127.0.0.1:${port}`, clusters };
  endpoints.write([replica]);
  const frontProxy = await freePort();
  target = `127.0.0.1:${frontProxy}`;
  place = {
    binary: envoyBinary(() => {}),
    folder,
    port: frontProxy,
    tlsPort: await freePort(),
    tlsDir: await makeCertificates(folder),
    replicaTls: false,
    issuer: `http://${target}`,
    secret: SECRET,
    endpoints,
  };
  envoy = await startEnvoy(children, place);
  await envoy.follows([replica]);
  clients = makeClients(target, { withJar: false, retries: false });
});
afterAll(async () => {
  clients?.close();
  await envoy?.child.end(10_000);
  await server?.drain();
  await children.close();
  rmSync(folder, { recursive: true });
});

test("E1 clients' internal headers are stripped, their own pass", async () => {
  let arrived = new Metadata();
  answer = async (name, metadata) => {
    arrived = metadata;
    return product(name);
  };
  const metadata = new Metadata();
  for (const key of [
    "x-waybill-subject",
    "x-waybill-front-proxy",
    "x-envoy-retry-on",
    "x-forwarded-client-cert",
    "waybill",
  ]) {
    metadata.set(key, "hello");
  }
  await clients.catalog.getProduct({ name: "products/1" }, { metadata });
  expect(arrived.get("waybill")).toEqual(["hello"]);
  expect(
    Object.keys(arrived.getMap()).filter((key) => /^x-(waybill|envoy)|cert/.test(key)),
  ).toEqual(["x-waybill-front-proxy"]);
  // The front proxy overwrites a caller's header of that name with its own secret.
  expect(arrived.get("x-waybill-front-proxy")).toEqual([SECRET]);
});

// Node's HTTP/2 client cannot send a header twice.
const grpcurl = toolPath("grpcurl");
test.skipIf(!grpcurl)(
  "E2 a duplicate credential is refused by the front proxy (needs grpcurl)",
  async () => {
    let calls = 0;
    answer = async (name) => {
      calls += 1;
      return product(name);
    };
    const call = (...values: string[]) => {
      const headers = values.flatMap((each) => ["-H", each]);
      const method = "waybill.catalog.v1.CatalogService/GetProduct";
      const args = ["-plaintext", ...headers, "-d", '{"name": "products/1"}', target, method];
      return promisify(execFile)(grpcurl!, args);
    };
    expect((await call("authorization: a")).stdout).toContain("products/1");
    const twice = call("authorization: a", "authorization: b");
    await expect(twice).rejects.toThrow("requires a valid credential");
    expect(calls).toBe(1);
  },
);

test("a replica that answers UNAVAILABLE is not ejected", async () => {
  answer = async () => {
    throw Errors.KEYS_UNAVAILABLE();
  };
  const refused = await Promise.all(
    Array.from({ length: 200 }, () => refusal(clients.catalog.getProduct({ name: "products/1" }))),
  );
  expect(new Set(refused.map(({ reason }) => reason))).toEqual(new Set(["KEYS_UNAVAILABLE"]));
  answer = async (name) => product(name);
  expect((await clients.catalog.getProduct({ name: "products/1" })).name).toBe("products/1");
});

test("fast calls are served beside 2,000 slow ones", async () => {
  const { promise: gate, resolve: open } = Promise.withResolvers<void>();
  let waiting = 0;
  const { promise: allWait, resolve: allAreThere } = Promise.withResolvers<void>();
  answer = async (name) => {
    if (name === "products/1") return product(name);
    waiting += 1;
    if (waiting === 2000) allAreThere();
    await gate;
    return product(name);
  };
  // Each caller has its own connection, which carries at most a thousand calls.
  const callers = Array.from({ length: 5 }, () =>
    makeClients(target, { withJar: false, retries: false }),
  );
  const slow = callers.flatMap(({ catalog }) =>
    Array.from({ length: 400 }, () => catalog.getProduct({ name: "products/2" })),
  );
  await allWait;
  for (let call = 0; call < 50; call += 1) {
    await clients.catalog.getProduct({ name: "products/1" });
  }
  open();
  expect(await Promise.all(slow)).toHaveLength(2000);
  for (const caller of callers) caller.close();
});

test("an unsendable secret keeps the front proxy unready", async () => {
  const readyWith = async (secret: string): Promise<number> => {
    const own = mkdtempSync(join(folder, "other-"));
    const ports = { port: await freePort(), tlsPort: await freePort() };
    const other = await startEnvoy(children, { ...place, ...ports, folder: own, secret });
    const { status } = await fetch(`http://127.0.0.1:${ports.port}/ready`);
    await other.child.end(10_000);
    return status;
  };
  expect((await fetch(`http://${target}/ready`)).status).toBe(200);
  for (const secret of [
    `${SECRET}\n`,
    `${SECRET}\r\n`,
    `${SECRET} `,
    `\u00e9${SECRET}`,
    "short",
    "",
  ]) {
    expect(await readyWith(secret), JSON.stringify(secret)).toBe(503);
  }
  expect(await readyWith(`${SECRET}~`)).toBe(200);
});
