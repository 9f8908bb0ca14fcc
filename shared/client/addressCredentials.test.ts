import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  type ChannelCredentials,
  type ChannelOptions,
  credentials,
  Metadata,
  ServerCredentials,
} from "@grpc/grpc-js";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { makeCertificates } from "../../deploy/local/secrets/authority.ts";
import { CatalogServiceService, Product } from "../../proto/gen/waybill/catalog/v1/catalog.ts";
import { KeysServiceService } from "../../proto/gen/waybill/keys/v1/keys.ts";
import { TokenResponse, TokenServiceService } from "../../proto/gen/waybill/token/v1/token.ts";
import { makeSigner } from "../../test/support/callers/callers.ts";
import {
  type AlternativeName,
  makeServerCertificate,
} from "../../test/support/callers/clientCertificate.ts";
import { makeCredentials } from "../../test/support/callers/credentials.ts";
import { contract } from "../../test/support/clients.ts";
import { REST_OF_CATALOG } from "../../test/support/servers/catalogHandlers.ts";
import { serviceAuthentication } from "../auth/credentials/assertion.ts";
import { JwksWatcher } from "../auth/jwksWatcher.ts";
import { RevocationFeed } from "../auth/revocationFeed.ts";
import type { Handlers, ServiceDefinition } from "../contract/handlers.ts";
import { Server, type ServerOptions } from "../server/server.ts";
import { createClient } from "./client.ts";
import { Jar } from "./jar/jar.ts";

let folder: string;
let ca: Buffer;
/** Resources to release after a test, newest last. */
const closers: (() => unknown)[] = [];
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "waybill-authority-"));
  ca = readFileSync(join(await makeCertificates(folder), "ca.crt"));
});
afterAll(() => rmSync(folder, { recursive: true }));
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

const ip = (value: string): AlternativeName => ({ type: "ip", value });
const dns = (value: string): AlternativeName => ({ type: "dns", value });

async function start(
  names: AlternativeName[],
  options: Partial<ServerOptions> = {},
  subject = "server",
): Promise<{ server: Server; listen(): Promise<number> }> {
  const { certificate, key } = await makeServerCertificate(folder, subject, names);
  const pair = { cert_chain: certificate, private_key: key };
  const tls = ServerCredentials.createSsl(null, [pair]);
  const server = new Server({ contract, credentials: tls, ...options });
  closers.push(() => server.drain());
  return { server, listen: () => server.listen("[::]:0") };
}

/** A catalog with a certificate of these names. @returns its port */
async function serve(names: AlternativeName[], subject?: string): Promise<number> {
  const { server, listen } = await start(names, {}, subject);
  const getProduct = async () => Product.create({ name: "products/1" });
  server.add(CatalogServiceService, { ...REST_OF_CATALOG, getProduct });
  return listen();
}

/** Reads a product. @returns its name, or the error's message */
async function read(
  target: string,
  channel: ChannelOptions = {},
  trusting: ChannelCredentials = credentials.createSsl(ca),
): Promise<string> {
  const client = createClient(CatalogServiceService, target, {
    credentials: trusting,
    channel: { "grpc.use_local_subchannel_pool": 1, ...channel },
  });
  closers.push(() => client.close());
  const answer = client.getProduct({ name: "products/1" });
  return answer.then(
    ({ name }) => name,
    ({ message }: Error) => message,
  );
}

const targetsOf = (port: number) => [
  `127.0.0.1:${port}`,
  `[::1]:${port}`,
  `[0:0:0:0:0:0:0:1]:${port}`,
  `ipv4:127.0.0.1:${port}`,
  `ipv6:[::1]:${port}`,
  `dns:127.0.0.1:${port}`,
  `dns:///127.0.0.1:${port}`,
];

test("TLS to an IP address works where the certificate has that address", async () => {
  const port = await serve([ip("127.0.0.1"), ip("::1")]);
  for (const target of targetsOf(port)) expect(await read(target), target).toBe("products/1");
  const list = `ipv4:127.0.0.1:${port},127.0.0.1:${port}`;
  expect(await read(list)).toBe("products/1");
});

describe("TLS to an IP address refuses a certificate", () => {
  test.each<[string, AlternativeName[], string]>([
    ["with a DNS name alone", [dns("localhost")], "server"],
    ["with another address", [ip("127.0.0.2"), ip("::2")], "server"],
    ["with the address as a DNS name", [dns("127.0.0.1"), dns("::1")], "server"],
    ["with the address as its subject alone", [], "127.0.0.1"],
    ["with a wildcard", [dns("*"), dns("*.0.0.1")], "server"],
  ])("%s", async (_name, names, subject) => {
    const port = await serve(names, subject);
    for (const target of targetsOf(port)) {
      expect(await read(target), target).toContain("ERR_TLS_CERT_ALTNAME_INVALID");
    }
  });

  test("of another authority", async () => {
    const port = await serve([ip("127.0.0.1"), ip("::1")]);
    const other = mkdtempSync(join(tmpdir(), "waybill-authority-"));
    closers.push(() => rmSync(other, { recursive: true }));
    const own = readFileSync(join(await makeCertificates(other), "ca.crt"));
    for (const target of targetsOf(port)) {
      const message = await read(target, {}, credentials.createSsl(own));
      expect(message, target).toMatch(/UNABLE_TO_VERIFY|SELF_SIGNED|unable to verify|signature/);
    }
  });
});

test("a name is verified as before, and an override decides", async () => {
  const named = await serve([dns("localhost"), dns("waybill.internal")]);
  expect(await read(`localhost:${named}`)).toBe("products/1");
  const internal = { "grpc.ssl_target_name_override": "waybill.internal" };
  expect(await read(`127.0.0.1:${named}`, internal)).toBe("products/1");
  const other = { "grpc.ssl_target_name_override": "other.internal" };
  expect(await read(`127.0.0.1:${named}`, other)).toContain("ERR_TLS_CERT_ALTNAME_INVALID");
  const address = { "grpc.ssl_target_name_override": "192.0.2.1" };
  expect(await read(`localhost:${named}`, address)).toContain("ERR_TLS_CERT_ALTNAME_INVALID");

  const addressed = await serve([ip("192.0.2.1")]);
  expect(await read(`localhost:${addressed}`, address)).toBe("products/1");
  expect(await read(`127.0.0.1:${addressed}`)).toContain("ERR_TLS_CERT_ALTNAME_INVALID");
});

test("credentials with call credentials, and with a check of their own, keep both", async () => {
  const port = await serve([ip("127.0.0.1")]);
  let made = 0;
  const perCall = credentials.createFromMetadataGenerator((_options, done) => {
    made += 1;
    done(null, new Metadata());
  });
  const composed = credentials.combineChannelCredentials(credentials.createSsl(ca), perCall);
  expect(await read(`127.0.0.1:${port}`, {}, composed)).toBe("products/1");
  expect(made).toBe(1);

  const hosts: string[] = [];
  const pinned = credentials.createSsl(ca, null, null, {
    checkServerIdentity(host) {
      hosts.push(host);
      return new Error("not the pinned key");
    },
  });
  expect(await read(`127.0.0.1:${port}`, {}, pinned)).toContain("not the pinned key");
  expect(hosts[0]).toBe("127.0.0.1");
});

/** Handlers of which a test uses some. */
function some<Definition extends ServiceDefinition>(
  definition: Definition,
  used: Partial<Handlers<Definition>>,
): Handlers<Definition> {
  const unused = Object.keys(definition).map((name) => [
    name,
    async () => {
      throw new Error("this test does not use it");
    },
  ]);
  return { ...Object.fromEntries(unused), ...used };
}

test("every client of the SDK speaks TLS to an IP address", async () => {
  const own = await makeCredentials();
  const { jwk } = await makeSigner("k1", "EdDSA");
  const { server, listen } = await start([ip("127.0.0.1")], {
    authenticate: serviceAuthentication(own),
  });
  server.add(
    TokenServiceService,
    some(TokenServiceService, {
      getJwks: async () => ({
        contentType: "application/json",
        data: Buffer.from(JSON.stringify({ keys: [jwk] })),
        extensions: [],
      }),
      signIn: async () => TokenResponse.create({ accessToken: "a", expiresInSeconds: 300 }),
    }),
  );
  server.add(
    KeysServiceService,
    some(KeysServiceService, {
      readRevocations: async () => ({ afterNumber: 0n, number: 1n, revocations: [] }),
    }),
  );
  const target = `127.0.0.1:${await listen()}`;
  const client = { credentials: credentials.createSsl(ca) };

  const watcher = new JwksWatcher({ target, client });
  closers.push(() => watcher.close());
  await watcher.ready;
  expect(watcher.find("k1")).toBeDefined();

  const feed = new RevocationFeed({ target, client, service: "checkout", credentials: own });
  closers.push(() => feed.close());
  await feed.ready;
  expect(feed.revocations.number).toBe(1n);

  const jar = new Jar({ contract, signIn: { target, client } });
  closers.push(() => jar.close());
  await jar.signIn("ada", "correct horse battery");
  expect(jar.isSignedIn).toBe(true);
});
