import { type ClientHttp2Session, connect } from "node:http2";
import { Metadata, status } from "@grpc/grpc-js";
import { afterAll, beforeAll, expect, test } from "vitest";
import { CatalogServiceService, Product } from "#proto/waybill/catalog/v1/catalog.ts";
import { Access } from "#proto/waybill/options/v1/options.ts";
import { readError } from "#shared/errors.ts";
import { Server } from "#shared/server/server.ts";
import { type FrontProxy, startFrontProxy } from "../schema/frontProxy.ts";
import { contract } from "../support/clients.ts";
import { seededRandom } from "../support/random.ts";
import { REST_OF_CATALOG } from "../support/servers/catalogHandlers.ts";
import { http1, onSession, type PlainResponse } from "../support/wire/plainHttp.ts";
import { startRawUpstream } from "../support/wire/rawUpstream.ts";

const GET_PRODUCT = "/waybill.catalog.v1.CatalogService/GetProduct";
const GRPC = { "content-type": "application/grpc", te: "trailers" };
/** A GetProductRequest for products/1, framed as a gRPC message. */
const BODY = Buffer.concat([Buffer.from([0, 0, 0, 0, 12, 10, 10]), Buffer.from("products/1")]);

let server: Server;
let replica: string;
let frontProxy: FrontProxy;
let session: ClientHttp2Session;
/** Metadata of the calls that arrived at the replica. */
let arrived: Metadata[] = [];

beforeAll(async () => {
  server = new Server({ contract }).add(CatalogServiceService, {
    getProduct: async ({ name }, { metadata }) => {
      arrived.push(metadata);
      return Product.create({ name });
    },
    ...REST_OF_CATALOG,
  });
  replica = `127.0.0.1:${await server.listen("127.0.0.1:0")}`;
  server.serving(true);
  frontProxy = await startFrontProxy();
  await frontProxy.leadTo([replica]);
  session = connect(`http://${frontProxy.target}`, { maxSendHeaderBlockLength: 1024 * 1024 });
  session.on("error", () => {});
});
afterAll(async () => {
  session?.destroy();
  await frontProxy?.close();
  await server?.drain();
});

/** Sends a request, GetProduct by default, on the connection that all tests share. */
async function call(
  headers: Record<string, string> = {},
  { path = GET_PRODUCT, method = "POST" } = {},
): Promise<PlainResponse> {
  arrived = [];
  return onSession(session, { method, path, headers: { ...GRPC, ...headers }, body: BODY });
}

/** Reads the gRPC status and reason of a response. */
function reported({ headers }: PlainResponse) {
  const metadata = new Metadata();
  const details = headers["grpc-status-details-bin"];
  if (details) metadata.set("grpc-status-details-bin", Buffer.from(`${details}`, "base64"));
  const code = Number(headers["grpc-status"]) as status;
  const { reason, domain } = readError({
    code,
    details: decodeURIComponent(`${headers["grpc-message"] ?? ""}`),
    metadata,
  });
  return { code, reason, domain };
}

async function expectServed(): Promise<void> {
  expect(reported(await call()).code).toBe(status.OK);
  expect(arrived).toHaveLength(1);
}

const random = seededRandom();
/** A random value that Huffman coding does not shorten. */
const noise = (length: number) =>
  Array.from({ length }, () => String.fromCharCode(0x23 + random.below(0x5a))).join("");
const keys = (count: number, value = () => "v"): Record<string, string> =>
  Object.fromEntries(Array.from({ length: count }, (_, index) => [`key-${index}`, value()]));

test.for<[name: string, headers: Record<string, string>]>([
  ["65 keys", keys(65)],
  ["100 keys", keys(100)],
  ["200 keys", keys(200)],
  ["500 keys", keys(500)],
  ["900 keys", keys(900)],
  ["17 KiB", keys(17, () => noise(1024))],
  ["40 KiB", keys(40, () => noise(1024))],
  ["80 KiB", keys(40, () => noise(2048))],
  ["90 KiB in 400 keys", keys(400, () => noise(200))],
  ["a key of 20 KiB", { key: noise(20 * 1024) }],
  ["a key of 60 KiB", { key: noise(60 * 1024) }],
])("E3 metadata of %s is refused without closing the connection", async ([, headers]) => {
  await expectServed();
  const response = await call(headers);
  expect({ status: response.status, ...reported(response) }).toEqual({
    status: 200,
    code: status.RESOURCE_EXHAUSTED,
    domain: "waybill",
    reason: "METADATA_TOO_LARGE",
  });
  expect(arrived).toEqual([]);
  await expectServed();
  expect(session.closed).toBe(false);
});

test("metadata within the limits arrives", async () => {
  for (const headers of [
    keys(50),
    keys(15, () => noise(1000)),
    { key: noise(15 * 1024) },
  ] as Record<string, string>[]) {
    expect(reported(await call(headers)).code).toBe(status.OK);
    for (const [key, value] of Object.entries(headers))
      expect(arrived[0]!.get(key)).toEqual([value]);
  }
});

test("E3 too much metadata over HTTP/1.1 gets a reason", async () => {
  const path = "/nothing";
  expect((await http1(frontProxy.target, { path })).status).toBe(404);
  for (const headers of [{ key: noise(20_000) }, { key: noise(200_000) }]) {
    const { status: code, body } = await http1(frontProxy.target, { path, headers });
    expect({ code, body }).toEqual({
      code: 431,
      body: expect.stringContaining("metadata is too large"),
    });
  }
});

test("underscore keys arrive, unless routes match by them", async () => {
  const headers = { trace_id: "a", _lead: "b", x__y_: "c", "x-waybill-protocol": "d" };
  expect(reported(await call(headers)).code).toBe(status.OK);
  const { trace_id, _lead, x__y_, ...rest } = arrived[0]!.getMap();
  expect([trace_id, _lead, x__y_]).toEqual(["a", "b", "c"]);
  expect(Object.keys(rest).filter((key) => key.startsWith("x-waybill-"))).toEqual([
    "x-waybill-front-proxy",
  ]);
});

const OPEN: readonly Access[] = [Access.ACCESS_PUBLIC, Access.ACCESS_AUTHENTICATED];
const paths = contract.methods
  .filter(({ access }) => OPEN.includes(access))
  .map(({ path }) => path);
const METHODS = ["PUT", "DELETE", "PATCH", "OPTIONS", "GET", "PROPFIND"];

test("gRPC methods accept only POST", async () => {
  await expectServed();
  const random = seededRandom();
  for (const path of [...paths, "/grpc.health.v1.Health/Check"]) {
    // The first path with every method, each other path with one.
    const methods = path === GET_PRODUCT ? METHODS : [METHODS[random.below(METHODS.length)]!];
    for (const method of methods) {
      const asGrpc = await call({}, { path, method });
      const plain = await http1(frontProxy.target, { method, path });
      for (const response of [asGrpc, plain]) {
        expect(response, `${method} ${path}`).toMatchObject({
          status: 405,
          headers: { allow: "POST" },
        });
        expect(reported(response)).toEqual({
          code: status.UNIMPLEMENTED,
          domain: "waybill",
          reason: "HTTP_METHOD_NOT_ALLOWED",
        });
      }
      expect(arrived).toEqual([]);
    }
  }
});

test("gRPC over HTTP/1.1 is refused with an explanation", async () => {
  await expectServed();
  arrived = [];
  for (const path of [GET_PRODUCT, "/grpc.health.v1.Health/Check", "/nothing"]) {
    for (const type of ["application/grpc", "application/grpc+proto"]) {
      const headers = { "content-type": type, te: "trailers", "x-waybill-protocol": "HTTP/2" };
      const request = { method: "POST", path, headers, body: BODY };
      const response = await http1(frontProxy.target, request);
      expect(response).toMatchObject({ status: 505, headers: { "content-type": "text/plain" } });
      expect(response.body).toContain("gRPC needs HTTP/2");
      expect(reported(response).reason).toBe("HTTP_VERSION_UNSUPPORTED");
    }
  }
  expect(arrived).toEqual([]);
});

test("gRPC methods refuse other content types", async () => {
  await expectServed();
  for (const type of ["application/json", "application/grpc-web", "text/plain"]) {
    const response = await call({ "content-type": type });
    expect(response.status, type).toBe(415);
    expect(response.body).toContain("application/grpc");
    expect(arrived).toEqual([]);
  }
});

test("each local response of Envoy has a reason", async () => {
  let asked = Promise.withResolvers<void>();
  const silent = await startRawUpstream((message, response) => {
    // It passes health checks, but responds to no call.
    if (message.length > 0) {
      asked.resolve();
      return;
    }
    response.headers([
      [":status", "200"],
      ["content-type", "application/grpc"],
    ]);
    response.message(Buffer.from([8, 1]));
    response.headers([["grpc-status", "0"]], true);
  });
  await frontProxy.leadTo([silent.address], ["session", "any"]);
  const reasonOf = async (path: string, headers: Record<string, string> = {}) =>
    reported(await call(headers, { path }));
  const SESSIONS = "/waybill.session.v1.SessionService/OpenSession";
  try {
    const refused = (code: status, reason: string) => ({ code, reason, domain: "waybill" });
    expect(await reasonOf("/no.Service/Method")).toEqual(
      refused(status.UNIMPLEMENTED, "METHOD_NOT_FOUND"),
    );
    expect(await reasonOf("/waybill.catalog.v1.CatalogService/Nothing")).toEqual(
      refused(status.UNIMPLEMENTED, "METHOD_NOT_FOUND"),
    );
    expect(await reasonOf("/waybill.keys.v1.KeysService/GetRing")).toEqual(
      refused(status.UNIMPLEMENTED, "METHOD_NOT_FOUND"),
    );
    expect(await reasonOf(GET_PRODUCT, { authorization: "a, b" })).toEqual(
      refused(status.UNAUTHENTICATED, "CREDENTIAL_INVALID"),
    );
    // No replica serves the catalog.
    expect(await reasonOf(GET_PRODUCT)).toEqual(refused(status.UNAVAILABLE, "SERVICE_UNAVAILABLE"));
    expect(await reasonOf(SESSIONS, { "grpc-timeout": "50m" })).toEqual(
      refused(status.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED"),
    );
    // The replica closes during the call.
    asked = Promise.withResolvers();
    const lost = reasonOf(SESSIONS);
    await asked.promise;
    await silent.close();
    expect(await lost).toEqual(refused(status.UNAVAILABLE, "SERVICE_UNAVAILABLE"));
  } finally {
    await frontProxy.leadTo([replica]);
  }
});

test("the front proxy is ready without its services", async () => {
  const isReady = async () => {
    const [first, second] = [
      await http1(frontProxy.target, { path: "/ready" }),
      await onSession(session, { path: "/ready" }),
    ];
    return first.status === 200 && second.status === 200;
  };
  expect(await isReady()).toBe(true);
  try {
    await frontProxy.leadTo([replica], ["catalog"]);
    expect(await isReady()).toBe(true);
    await expectServed();
    expect(reported(await call({}, { path: "/grpc.health.v1.Health/Check" })).reason).toBe(
      "SERVICE_UNAVAILABLE",
    );
    await frontProxy.leadTo([]);
    expect(await isReady()).toBe(true);
  } finally {
    await frontProxy.leadTo([replica]);
  }
  await expectServed();
});
