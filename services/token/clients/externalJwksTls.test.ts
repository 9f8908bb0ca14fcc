import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { makeCertificates } from "../../../deploy/local/secrets/authority.ts";
import { makeSigner } from "../../../test/support/callers/callers.ts";
import {
  type AlternativeName,
  makeServerCertificate,
} from "../../../test/support/callers/clientCertificate.ts";
import { ExternalJwks } from "./externalJwks.ts";

let folder: string;
let caCertificate: string;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "waybill-authority-"));
  caCertificate = readFileSync(join(await makeCertificates(folder), "ca.crt"), "utf8");
});
afterAll(() => rmSync(folder, { recursive: true }));

/** Serves a key over TLS with a certificate for these names. @returns the port */
async function publish(names: AlternativeName[]): Promise<number> {
  const { certificate: cert, key } = await makeServerCertificate(folder, "issuer", names);
  const { jwk } = await makeSigner("k1", "RS256");
  const server = createServer({ cert, key }, (_request, response) => {
    response.end(JSON.stringify({ keys: [jwk] }));
  });
  await new Promise<void>((resolve) => server.listen(0, "::", resolve));
  onTestFinished(() => void server.close());
  return (server.address() as AddressInfo).port;
}

async function fetchFrom(uri: string): Promise<ExternalJwks> {
  const jwks = new ExternalJwks({ uri, caCertificate, algorithms: ["RS256"] });
  await jwks.refresh();
  return jwks;
}

const urisOf = (port: number) => [`https://127.0.0.1:${port}/jwks`, `https://[::1]:${port}/jwks`];

test("X5 accepts a certificate with the IP address of the URL", async () => {
  const port = await publish([
    { type: "ip", value: "127.0.0.1" },
    { type: "ip", value: "::1" },
  ]);
  for (const uri of urisOf(port)) expect((await fetchFrom(uri)).find("k1"), uri).toBeDefined();
});

test.each<[string, AlternativeName[]]>([
  ["a DNS name alone", [{ type: "dns", value: "localhost" }]],
  ["another address", [{ type: "ip", value: "127.0.0.2" }]],
  ["the address as a DNS name", [{ type: "dns", value: "127.0.0.1" }]],
])("X5 refuses a certificate with %s for an IP address", async (_name, names) => {
  const port = await publish(names);
  for (const uri of urisOf(port)) {
    await expect(fetchFrom(uri), uri).rejects.toMatchObject({
      code: "ERR_TLS_CERT_ALTNAME_INVALID",
    });
  }
});
