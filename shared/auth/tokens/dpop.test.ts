import {
  createHash,
  createHmac,
  createSecretKey,
  generateKeyPairSync,
  type KeyObject,
  sign,
} from "node:crypto";
import { exportJWK, type JWK } from "jose";
import { beforeEach, expect, test } from "vitest";
import { nonCanonical, withUnusedBit } from "../../../test/support/wire/nonCanonical.ts";
import { makeProof, Proofs } from "./dpop.ts";

const URL_HERE = "https://a.example/p.S/M";
const TOKEN = "a.b.c";
const { privateKey, publicKey } = generateKeyPairSync("ed25519");
const jwk = (await exportJWK(publicKey)) as JWK;

let clock: { now: number };
let proofs: Proofs;
beforeEach(() => {
  clock = { now: Date.now() };
  proofs = new Proofs(() => clock.now);
});

const encode = (part: unknown) => Buffer.from(JSON.stringify(part)).toString("base64url");
const ath = createHash("sha256").update(TOKEN).digest("base64url");

/** A proof with anything else than it should have. */
function make(
  claims: Record<string, unknown> = {},
  header: Record<string, unknown> = {},
  signer = (input: Buffer) => sign(null, input, privateKey),
): string {
  const head = { typ: "dpop+jwt", alg: "EdDSA", jwk, ...header };
  const iat = Math.floor(clock.now / 1000);
  const all = { jti: "j", htm: "POST", htu: URL_HERE, iat, ath, ...claims };
  const input = `${encode(head)}.${encode(all)}`;
  return `${input}.${signer(Buffer.from(input)).toString("base64url")}`;
}
const verify = (proof: string, token: string | undefined = TOKEN) =>
  proofs.verify(proof, [URL_HERE], token);

test("P1 a proof holds with its key's thumbprint, of either type of key", async () => {
  for (const pair of [
    generateKeyPairSync("ed25519"),
    generateKeyPairSync("ec", { namedCurve: "P-256" }),
  ]) {
    const own = (await exportJWK(pair.publicKey)) as JWK;
    const proof = makeProof(pair.privateKey, own, URL_HERE, TOKEN);
    const members = own.kty === "EC" ? ["crv", "kty", "x", "y"] : ["crv", "kty", "x"];
    const canonical = JSON.stringify(
      Object.fromEntries(members.map((name) => [name, own[name as keyof JWK]])),
    );
    expect((await verify(proof)).thumbprint).toBe(
      createHash("sha256").update(canonical).digest("base64url"),
    );
  }
});

test("K9 a proof is made with a private key of a kind that is allowed, and with no other", async () => {
  expect(makeProof(privateKey, jwk, URL_HERE)).toBeDefined();
  const kinds = [
    generateKeyPairSync("ec", { namedCurve: "P-384" }),
    generateKeyPairSync("ec", { namedCurve: "secp256k1" }),
    generateKeyPairSync("rsa", { modulusLength: 2048 }),
    generateKeyPairSync("ed448"),
  ];
  const p256 = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const pairs: [KeyObject, JWK][] = [
    ...kinds.map((pair): [KeyObject, JWK] => [
      pair.privateKey,
      pair.publicKey.export({ format: "jwk" }) as JWK,
    ]),
    [publicKey, jwk],
    [createSecretKey(Buffer.alloc(32, 1)), { kty: "oct" }],
    [p256.privateKey, jwk],
    [privateKey, p256.publicKey.export({ format: "jwk" }) as JWK],
  ];
  for (const [key, publicJwk] of pairs) {
    expect(() => makeProof(key, publicJwk, URL_HERE)).toThrow("must be a private Ed25519 or P-256");
  }
});

test("C5 a proof in a text that is not canonical base64url is refused", async () => {
  const proof = make();
  await verify(proof);
  for (const other of nonCanonical(proof)) await expect(verify(other)).rejects.toThrow("canonical");
  // One key in several texts would have several thumbprints.
  const x = withUnusedBit(jwk.x!)!;
  expect(Buffer.from(x, "base64url")).toEqual(Buffer.from(jwk.x!, "base64url"));
  await expect(verify(make({}, { jwk: { ...jwk, x } }))).rejects.toThrow("canonical");
});

test("P1 a proof is refused when anything of it is not as it must be", async () => {
  await verify(make());
  const secret = { ...jwk, d: (privateKey.export({ format: "jwk" }) as JWK).d };
  const other = generateKeyPairSync("ed25519").privateKey;
  const bad: Record<string, string> = {
    "another type": make({}, { typ: "JWT" }),
    "no type": make({}, { typ: undefined }),
    "a private key in it": make({}, { jwk: secret }),
    "no key": make({}, { jwk: undefined }),
    "a shared secret for a key": make(
      {},
      { alg: "HS256", jwk: { kty: "oct", k: encode("k") } },
      (input) => createHmac("sha256", "k").update(input).digest(),
    ),
    "no signature": make({}, { alg: "none" }, () => Buffer.alloc(0)),
    "the signature of another key": make({}, {}, (input) => sign(null, input, other)),
    "another verb": make({ htm: "GET" }),
    "no verb": make({ htm: undefined }),
    "another method": make({ htu: "https://a.example/p.S/Other" }),
    "another host": make({ htu: "https://b.example/p.S/M" }),
    "another scheme": make({ htu: "http://a.example/p.S/M" }),
    "a query": make({ htu: `${URL_HERE}?a=b` }),
    "no address": make({ htu: undefined }),
    "no time": make({ iat: undefined }),
    "a text for a time": make({ iat: `${Math.floor(clock.now / 1000)}` }),
    "a fraction of a second": make({ iat: Math.floor(clock.now / 1000) + 0.5 }),
    "no id": make({ jti: undefined }),
    "an empty id": make({ jti: "" }),
    "an endless id": make({ jti: "x".repeat(129) }),
    "another token's hash": make({ ath: createHash("sha256").update("x").digest("base64url") }),
    "no token's hash": make({ ath: undefined }),
    "far too much": make({ more: "x".repeat(2048) }),
    nonsense: "a.b.c",
    nothing: "",
  };
  for (const [what, proof] of Object.entries(bad)) {
    await expect(verify(proof), what).rejects.toThrow();
  }
  // Where no token goes with it, its hash is not asked for.
  await proofs.verify(make({ ath: undefined }), [URL_HERE], undefined);
});

test("P2 a proof is good for a minute either way, however often it was looked at", async () => {
  const proof = make();
  const start = clock.now;
  for (const [offS, isGood] of [
    [-61, false],
    [-59, true],
    [0, true],
    [59, true],
    [62, false],
  ] as const) {
    clock.now = start + offS * 1000;
    const held = await verify(proof).then(
      () => true,
      () => false,
    );
    expect(held, `${offS} s`).toBe(isGood);
  }
});
