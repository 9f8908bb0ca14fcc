import { generateKeyPairSync, randomBytes } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { loadCredentials } from "./credentials.ts";

const { publicKey, privateKey } = generateKeyPairSync("ed25519");
const secret = privateKey.export({ format: "jwk" });
const peer = { ...publicKey.export({ format: "jwk" }), kid: "checkout", audiences: ["checkout"] };
const p256 = generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey.export({
  format: "jwk",
});

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "waybill-credentials-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

function write(peers: unknown, own: unknown = secret): void {
  writeFileSync(join(folder, "services.jwks.json"), JSON.stringify({ keys: peers }));
  writeFileSync(join(folder, "checkout.jwk.json"), JSON.stringify(own));
}

test.each<[string, unknown, string]>([
  ["no list", "keys", 'expected a JWK set with "keys"'],
  ["null", [peer, null], "the key at index 1 must have its service's name as kid"],
  ["no kid", [{ ...peer, kid: undefined }], "the key at index 0 must have its service's name"],
  ["an empty kid", [{ ...peer, kid: "" }], "the key at index 0 must have its service's name"],
  ["a number as kid", [{ ...peer, kid: 1 }], "the key at index 0 must have its service's name"],
  ["one kid twice", [peer, peer], "the key checkout is there twice"],
  [
    "a private key",
    [{ ...peer, ...secret }],
    "checkout must be public: it must not have the member d",
  ],
  ["another curve", [{ ...peer, crv: "X25519" }], "the key checkout must be an Ed25519 key"],
  [
    "a symmetric key",
    [{ ...peer, kty: "oct", k: "AAAA" }],
    "the key checkout must be an Ed25519 key",
  ],
  ["an empty x", [{ ...peer, x: "" }], "the key checkout must have as x a public key of 32 bytes"],
  [
    "16 bytes of x",
    [{ ...peer, x: "A".repeat(22) }],
    "the key checkout must have as x a public key of 32 bytes",
  ],
  ["no x", [{ ...peer, x: undefined }], "the key checkout must have as x a public key of 32 bytes"],
  ["padding", [{ ...peer, x: `${peer.x}=` }], "the key checkout must have as x a public key"],
  [
    "text as audiences",
    [{ ...peer, audiences: "checkout-saved" }],
    "an array of strings as audiences",
  ],
  ["numbers as calls", [{ ...peer, calls: [1] }], "an array of strings as calls"],
  ["text as scopes", [{ ...peer, scopes: "catalog.read" }], "an array of strings as scopes"],
])("K9 a list of services with %s is refused when it is loaded", (_name, peers, rule) => {
  write([peer]);
  expect(() => loadCredentials(folder)).not.toThrow();
  write(peers);
  expect(() => loadCredentials(folder)).toThrow(rule);
});

test.each<[string, unknown, string]>([
  ["null", null, "must be an Ed25519 key"],
  ["of another kind", p256, "must be an Ed25519 key"],
  ["without its private half", { ...secret, d: undefined }, "must be private: it needs d"],
  [
    "with an empty d",
    { ...secret, d: "" },
    "must have as x a public key of 32 bytes in base64url that belongs to its d",
  ],
  [
    "with 16 bytes of d",
    { ...secret, d: "A".repeat(22) },
    "must have as x a public key of 32 bytes in base64url that belongs to its d",
  ],
  [
    "with another key's x",
    { ...secret, x: randomBytes(32).toString("base64url") },
    "must have as x",
  ],
])("K9 a service's own key %s is refused when it is read", async (_name, own, rule) => {
  write([peer]);
  expect(await loadCredentials(folder).own("checkout")).toBeDefined();
  write([peer], own);
  const read = async () => loadCredentials(folder).own("checkout");
  await expect(read()).rejects.toThrow(rule);
  await expect(read()).rejects.toThrow("checkout.jwk.json");
  await expect(read()).rejects.not.toThrow(String(secret.d));
});
