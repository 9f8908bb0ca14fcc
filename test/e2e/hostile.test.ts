import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { connect as connectHttp2, constants } from "node:http2";
import { connect, type Socket } from "node:net";
import { networkInterfaces } from "node:os";
import { status } from "@grpc/grpc-js";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type Clients, makeClients } from "../support/clients.ts";
import { startTestCluster, type TestCluster } from "../support/cluster.ts";
import { seededRandom } from "../support/random.ts";
import { step } from "../support/step.ts";

/** Memory limit of a pod in the chart. */
const MEMORY_LIMIT_MB = 512;
const PREFACE = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

let cluster: TestCluster;
let steady: Clients;
beforeAll(async () => {
  cluster = await startTestCluster();
  steady = makeClients(cluster.target, { retries: false });
});
afterAll(async () => {
  steady?.close();
  await cluster?.remove();
});

/** Checks that every call of other, well-behaved clients succeeds. */
async function expectOthersServed(): Promise<void> {
  for (let call = 0; call < 50; call += 1) {
    await steady.catalog.getProduct({ name: `products/${call + 1}` });
  }
}

/** Resident memory of the front proxy and of each replica, in MB. */
function memory(): number[] {
  const { frontProxy, replicas } = cluster.status();
  const pids = [frontProxy!.pid, ...replicas.map(({ pid }) => pid)];
  const sizes = execFileSync("ps", ["-o", "rss=", "-p", pids.join(",")], { encoding: "utf8" });
  return sizes
    .trim()
    .split("\n")
    .map((kib) => Number(kib) / 1024);
}

function expectBoundedMemory(): void {
  expect(memory()).toHaveLength(3);
  for (const size of memory()) expect(size).toBeLessThan(MEMORY_LIMIT_MB);
}

/** Opens a connection to the front proxy. */
async function open(): Promise<Socket> {
  const socket = connect(cluster.status().frontProxy!.port, "127.0.0.1");
  socket.on("error", () => {});
  await once(socket, "connect");
  return socket;
}

/** An HTTP/2 frame (RFC 9113 section 4.1). */
function frame(type: number, flags: number, stream: number, payload: Buffer): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head.writeUInt8(type, 3);
  head.writeUInt8(flags, 4);
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

const SETTINGS = frame(4, 0, 0, Buffer.alloc(0));
const HEADERS = 1;
const CONTINUATION = 9;

test("E7 malformed HTTP/2 ends only its own connection", async () => {
  const random = seededRandom();
  const bytes = (length: number) => Buffer.from(Array.from({ length }, () => random.below(256)));
  const garbage: [what: string, sent: Buffer][] = [
    ["HTTP/1.1", Buffer.from("GET / HTTP/1.1\r\nhost: a\r\n\r\n")],
    ["no preface", bytes(1000)],
    ["half a preface, then noise", Buffer.concat([Buffer.from(PREFACE.slice(0, 10)), bytes(100)])],
    [
      "a frame of 16 MiB",
      Buffer.concat([Buffer.from(PREFACE), SETTINGS, Buffer.from("ffffff0104000000010a", "hex")]),
    ],
    [
      "headers that are no HPACK",
      Buffer.concat([Buffer.from(PREFACE), SETTINGS, frame(HEADERS, 4, 1, Buffer.alloc(64, 0xff))]),
    ],
    [
      "an even stream",
      Buffer.concat([Buffer.from(PREFACE), SETTINGS, frame(HEADERS, 4, 2, Buffer.from([0x82]))]),
    ],
    [
      "continuation of nothing",
      Buffer.concat([Buffer.from(PREFACE), SETTINGS, frame(CONTINUATION, 4, 1, bytes(10))]),
    ],
    [
      "continuation without an end",
      Buffer.concat([
        Buffer.from(PREFACE),
        SETTINGS,
        frame(HEADERS, 0, 1, Buffer.from([0x82])),
        ...Array.from({ length: 2000 }, () => frame(CONTINUATION, 0, 1, Buffer.alloc(1000, 0x82))),
      ]),
    ],
    ...Array.from({ length: 100 }, (_, index): [string, Buffer] => [
      `noise ${index}`,
      // Ends in a frame longer than allowed, which no preceding noise makes valid.
      Buffer.concat([
        Buffer.from(PREFACE),
        SETTINGS,
        bytes(1 + random.below(200)),
        Buffer.alloc(64, 0xff),
      ]),
    ]),
  ];
  const ended = Promise.all(
    garbage.map(async ([, sent]) => {
      const socket = await open();
      const closed = new Promise((resolve) => socket.once("close", resolve));
      socket.resume();
      // Ends the input, so that the server does not wait for more.
      socket.end(sent);
      await closed;
    }),
  );
  await expectOthersServed();
  await ended;
  expectBoundedMemory();
});

test("E7 malformed messages are refused one by one", async () => {
  const random = seededRandom();
  const session = connectHttp2(`http://${cluster.target}`);
  session.on("error", () => {});
  const call = async (path: string, body: Buffer): Promise<string> => {
    const stream = session.request({
      ":method": "POST",
      ":path": path,
      "content-type": "application/grpc",
      te: "trailers",
    });
    let said = "none";
    for (const event of ["response", "trailers"]) {
      stream.on(event, (headers) => {
        said = headers["grpc-status"] ?? said;
      });
    }
    stream.on("error", () => {});
    stream.resume();
    stream.end(body);
    await once(stream, "close");
    return said;
  };
  const path = "/waybill.catalog.v1.CatalogService/GetProduct";
  const message = (payload: Buffer) => {
    const head = Buffer.alloc(5);
    head.writeUInt32BE(payload.length, 1);
    return Buffer.concat([head, payload]);
  };
  expect(await call(path, message(Buffer.from("\n\nproducts/1")))).toBe("0");
  for (let round = 0; round < 300; round += 1) {
    const noise = Buffer.from(Array.from({ length: random.below(60) }, () => random.below(256)));
    // With a valid gRPC frame, or without. No noise is a product's name, so no call succeeds.
    const sent = round % 3 === 0 ? noise : message(noise);
    expect(await call(path, sent), sent.toString("hex")).not.toBe("0");
  }
  session.destroy();
  await expectOthersServed();
  expectBoundedMemory();
});

test("E7 idle streams and slow connections leave others served", async () => {
  // Each stream sends the head of a call and never its message; a connection carries a thousand.
  const sessions = await Promise.all(
    Array.from({ length: 5 }, async () => {
      const session = connectHttp2(`http://${cluster.target}`);
      await once(session, "remoteSettings");
      return session.on("error", () => {});
    }),
  );
  let streams = 0;
  for (const session of sessions) {
    for (let index = 0; index < 900; index += 1) {
      const stream = session.request(
        {
          ":method": "POST",
          ":path": "/waybill.catalog.v1.CatalogService/GetProduct",
          "content-type": "application/grpc",
          te: "trailers",
        },
        { endStream: false },
      );
      stream.on("error", () => {});
      streams += 1;
    }
    // The front proxy acknowledges the ping after the heads that precede it.
    await new Promise((resolve) => session.ping(resolve));
  }
  // Other connections send half of a preface, or half of a frame's head.
  const slow = await Promise.all(Array.from({ length: 1000 }, () => open()));
  for (const [index, socket] of slow.entries()) {
    socket.resume();
    socket.write(index % 2 === 0 ? PREFACE.slice(0, 12) : `${PREFACE}\0\0`);
  }
  expect(streams).toBe(4500);
  await expectOthersServed();
  const sizes = memory();
  for (const size of sizes) expect(size).toBeLessThan(MEMORY_LIMIT_MB);
  for (const session of sessions) session.destroy(undefined, constants.NGHTTP2_CANCEL);
  for (const socket of slow) socket.destroy();
  await expectOthersServed();
});

test("E7 silent session streams exhaust only the limit on streams", async () => {
  const { waybill } = await step(steady.checkout.beginCheckout, {});
  const replicas = cluster.status().replicas.length;
  // A quarter of the thousand concurrent calls that a replica serves.
  const places = replicas * 250;
  const refused = Promise.withResolvers<void>();
  const statuses: unknown[] = [];
  const sessions = await Promise.all(
    Array.from({ length: 3 }, async () => {
      const session = connectHttp2(`http://${cluster.target}`);
      await once(session, "remoteSettings");
      return session.on("error", () => {});
    }),
  );
  const total = sessions.length * 900;
  for (const session of sessions) {
    for (let index = 0; index < 900; index += 1) {
      const stream = session.request(
        {
          ":method": "POST",
          ":path": "/waybill.checkout.v1.CheckoutService/EditItems",
          "content-type": "application/grpc",
          te: "trailers",
          waybill,
        },
        { endStream: false },
      );
      stream.on("error", () => {});
      stream.on("response", (headers) => {
        if (headers["grpc-status"] === undefined) return;
        statuses.push(headers["grpc-status"]);
        if (statuses.length === total - places) refused.resolve();
      });
    }
  }
  await refused.promise;
  expect(new Set(statuses)).toEqual(new Set([`${status.RESOURCE_EXHAUSTED}`]));
  await expectOthersServed();
  for (const session of sessions) session.destroy(undefined, constants.NGHTTP2_CANCEL);
  await expectOthersServed();
});

/** Returns whether a program listens on the address. */
async function listens(host: string, port: number): Promise<boolean> {
  const socket = connect(port, host);
  const answer = await Promise.race([
    once(socket, "connect").then(() => true),
    once(socket, "error").then(() => false),
  ]).catch(() => false);
  socket.destroy();
  return answer;
}

test("E6 a local cluster listens on loopback alone", async () => {
  const { frontProxy, postgres, replicas } = cluster.status();
  const outside = Object.values(networkInterfaces())
    .flatMap((each) => each ?? [])
    .find(({ internal, family }) => !internal && family === "IPv4")?.address;
  // Loopback is 127/8: a program that listens on all interfaces accepts there, too.
  const other = outside ?? "127.0.0.2";
  const ports = [frontProxy!.adminPort, frontProxy!.port, frontProxy!.tlsPort, postgres!.port];
  ports.push(...replicas.map(({ address }) => Number(address.split(":")[1])));
  for (const port of ports) {
    expect(await listens("127.0.0.1", port), `${port}`).toBe(true);
    expect(await listens(other, port), `${port}`).toBe(false);
  }
});
