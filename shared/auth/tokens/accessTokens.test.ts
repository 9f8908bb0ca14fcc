import { createHmac, generateKeyPairSync, type KeyObject, sign } from "node:crypto";
import { exportJWK, type JWK } from "jose";
import { beforeEach, expect, test } from "vitest";
import { refusal } from "../../../test/support/refusal.ts";
import { nonCanonical, withUnusedBit } from "../../../test/support/wire/nonCanonical.ts";
import type { StatusError } from "../../errors.ts";
import { AccessTokens } from "./accessTokens.ts";
import { importKeys, type VerificationKey } from "./verificationKeys.ts";

const NOW_S = 1_800_000_000;
const ISSUER = "https://a.example";
const ed25519 = generateKeyPairSync("ed25519");
const p256 = generateKeyPairSync("ec", { namedCurve: "P-256" });
const rsa = generateKeyPairSync("rsa", { modulusLength: 2048 });

let clock: { now: number };
let known: Map<string, VerificationKey>;
let refreshes: number;
let tokens: AccessTokens;

const jwkOf = async (key: KeyObject, kid: string, alg: string): Promise<JWK> => ({
  ...(await exportJWK(key)),
  kid,
  alg,
});

beforeEach(async () => {
  clock = { now: NOW_S * 1000 };
  refreshes = 0;
  const keys = [
    await jwkOf(ed25519.publicKey, "ed", "EdDSA"),
    await jwkOf(p256.publicKey, "ec", "ES256"),
    await jwkOf(rsa.publicKey, "rsa", "RS256"),
  ];
  known = await importKeys({ keys }, ["EdDSA", "ES256"]);
  const source = {
    find: (kid: string) => known.get(kid),
    refresh: async () => {
      refreshes += 1;
    },
  };
  tokens = new AccessTokens(ISSUER, source, () => clock.now);
});

const CLAIMS = {
  iss: ISSUER,
  sub: "users/u",
  aud: ["checkout"],
  client_id: "",
  iat: NOW_S,
  exp: NOW_S + 300,
  jti: "j",
  scope: "a b",
  epoch: 3,
  sid: "0198f7a0-0000-7000-8000-000000000000",
};
const encode = (part: unknown): string =>
  Buffer.from(typeof part === "string" ? part : JSON.stringify(part)).toString("base64url");

/** Signs any claims with any header. */
function make(
  claims: unknown = CLAIMS,
  header: Record<string, unknown> = {},
  signer: (input: Buffer) => Buffer = (input) => sign(null, input, ed25519.privateKey),
): string {
  const head = { alg: "EdDSA", typ: "at+jwt", kid: "ed", ...header };
  const input = `${encode(head)}.${encode(claims)}`;
  return `${input}.${signer(Buffer.from(input)).toString("base64url")}`;
}

/** The error of a refused token; its message is the same for every reason. */
async function refused(jwt: string): Promise<unknown> {
  const attempt = (async () => tokens.verify(jwt))().catch((error: StatusError) => {
    throw error.toStatusObject();
  });
  const { reason, message, metadata } = await refusal(attempt);
  return { reason, message, metadata };
}
const INVALID = {
  reason: "CREDENTIAL_INVALID",
  message: "This method requires a valid credential in the metadata key `authorization`.",
  metadata: {},
};

test("a token says what its claims say", async () => {
  const act = { sub: "services/a", act: { sub: "serviceAccounts/b" } };
  const claims = { ...CLAIMS, act, may_act: { sub: "m" }, cnf: { jkt: "x".repeat(43) } };
  expect(await tokens.verify(make(claims))).toEqual({
    id: "j",
    issuer: ISSUER,
    subject: "users/u",
    client: "",
    audiences: ["checkout"],
    scopes: ["a", "b"],
    issuedAt: NOW_S,
    expiresAt: NOW_S + 300,
    epoch: 3,
    family: CLAIMS.sid,
    actors: ["services/a", "serviceAccounts/b"],
    mayAct: "m",
    confirmation: { method: "jkt", thumbprint: "x".repeat(43) },
  });
  const { sid: _none, ...least } = CLAIMS;
  expect(await tokens.verify(make({ ...least, aud: "checkout", scope: undefined }))).toMatchObject({
    audiences: ["checkout"],
    scopes: [],
    family: undefined,
    actors: [],
    mayAct: undefined,
    confirmation: undefined,
  });
});

test("J1 J2 algorithms are an allow-list, and a key has one", async () => {
  await tokens.verify(make());
  const es256 = (input: Buffer) =>
    sign("sha256", input, { key: p256.privateKey, dsaEncoding: "ieee-p1363" });
  await tokens.verify(make(CLAIMS, { alg: "ES256", kid: "ec" }, es256));
  const publicPem = ed25519.publicKey.export({ format: "pem", type: "spki" });
  for (const [header, signer] of [
    [{ alg: "none" }, () => Buffer.alloc(0)],
    [{ alg: "None" }, () => Buffer.alloc(0)],
    [{ alg: "HS256" }, (input: Buffer) => createHmac("sha256", publicPem).update(input).digest()],
    [{ alg: "RS256", kid: "rsa" }, (input: Buffer) => sign("sha256", input, rsa.privateKey)],
    [{ alg: "PS256", kid: "rsa" }, (input: Buffer) => sign("sha256", input, rsa.privateKey)],
    // The algorithm of another key than the one that is named.
    [{ alg: "ES256" }, es256],
    [{ alg: "EdDSA", kid: "ec" }, (input: Buffer) => sign(null, input, ed25519.privateKey)],
    [{ alg: "ES256", kid: "ec" }, (input: Buffer) => sign("sha256", input, p256.privateKey)],
    [{ alg: "ES384", kid: "ec" }, es256],
  ] as const) {
    expect(await refused(make(CLAIMS, header, signer)), JSON.stringify(header)).toEqual(INVALID);
  }
});

test("J3 if any part fails, all fails", async () => {
  const good = make();
  await tokens.verify(good);
  const [head, payload, signature] = good.split(".") as [string, string, string];
  const other = encode({ ...CLAIMS, scope: "identity.admin" });
  for (const bad of [
    `${head}.${other}.${signature}`,
    `${head}.${payload}.`,
    `${head}.${payload}`,
    `${head}.${payload}.${signature}.${signature}`,
    `${head}..${signature}`,
    `.${payload}.${signature}`,
    `${head}.${payload}.${Buffer.alloc(64).toString("base64url")}`,
    `${head}.${payload}.${signature.slice(0, -2)}`,
    ` ${good}`,
    `${good}=`,
    "",
    "a.b.c",
  ]) {
    expect(await refused(bad), bad).toEqual(INVALID);
  }
  // Every character of the signature counts, the unused bits of the last one included.
  for (let at = 0; at < signature.length; at += at + 7 < signature.length ? 7 : 1) {
    const flipped = `${signature.slice(0, at)}${signature[at] === "A" ? "B" : "A"}${signature.slice(at + 1)}`;
    expect(await refused(`${head}.${payload}.${flipped}`)).toEqual(INVALID);
  }
});

test("C5 a token in a text that is not canonical base64url is refused", async () => {
  const good = make();
  await tokens.verify(good);
  for (const other of [...nonCanonical(good), `${good}\n`, `${good} `, `\t${good}`]) {
    expect(await refused(other), JSON.stringify(other.slice(-4))).toEqual(INVALID);
  }
  // Also when it was signed in that text.
  const parts = [encode({ alg: "EdDSA", typ: "at+jwt", kid: "ed" }), encode(CLAIMS)] as const;
  const signed = (input: string) =>
    `${input}.${sign(null, Buffer.from(input), ed25519.privateKey).toString("base64url")}`;
  await tokens.verify(signed(parts.join(".")));
  for (const at of [0, 1]) {
    const others = [`${parts[at]}=`, `${parts[at]}\n`, withUnusedBit(parts[at]!)];
    for (const other of others.filter((each) => each !== undefined)) {
      expect(await refused(signed(parts.with(at, other).join(".")))).toEqual(INVALID);
    }
  }
});

test("J4 a point off the curve is no key", async () => {
  const good = await jwkOf(p256.publicKey, "k", "ES256");
  const off = { ...good, y: Buffer.alloc(32, 7).toString("base64url") };
  expect((await importKeys({ keys: [good] }, ["ES256"])).size).toBe(1);
  await expect(importKeys({ keys: [off] }, ["ES256"])).rejects.toThrow();
});

test("J5 a token of another issuer is refused, whoever's key it names", async () => {
  await tokens.verify(make());
  for (const iss of ["https://b.example", `${ISSUER}/`, ISSUER.toUpperCase(), "", [ISSUER], null]) {
    expect(await refused(make({ ...CLAIMS, iss }))).toEqual(INVALID);
  }
  const stranger = generateKeyPairSync("ed25519").privateKey;
  const forged = make(CLAIMS, {}, (input) => sign(null, input, stranger));
  expect(await refused(forged)).toEqual(INVALID);
});

test("J7 a kid is looked up to the letter, and keys and addresses in a header are not looked at", async () => {
  await tokens.verify(make());
  for (const kid of ["ED", "ed ", "../ed", "ed' OR '1'='1", "", "x".repeat(129), 7, null, ["ed"]]) {
    expect(await refused(make(CLAIMS, { kid })), String(kid)).toEqual(INVALID);
  }
  const jwk = await exportJWK(ed25519.publicKey);
  for (const header of [
    { jwk },
    { jku: "https://other.example/jwks" },
    { x5u: "https://other.example/x5u" },
    { x5c: ["AA"] },
    { crit: ["b64"], b64: true },
    { crit: ["unknown"], unknown: 1 },
    { zip: "DEF" },
    { anything: 1 },
  ]) {
    expect(await refused(make(CLAIMS, header)), JSON.stringify(header)).toEqual(INVALID);
  }
});

test("J7 unknown keys are asked for, and found once they are published", async () => {
  const late = generateKeyPairSync("ed25519");
  const jwt = make(CLAIMS, { kid: "late" }, (input) => sign(null, input, late.privateKey));
  expect(await refused(jwt)).toEqual(INVALID);
  expect(refreshes).toBe(1);
  const keys = [await jwkOf(late.publicKey, "late", "EdDSA")];
  for (const [kid, key] of await importKeys({ keys }, ["EdDSA"])) known.set(kid, key);
  expect(await tokens.verify(jwt)).toMatchObject({ subject: "users/u" });
});

test("J8 nothing but an access token is one, by its type", async () => {
  await tokens.verify(make());
  for (const typ of ["JWT", "dpop+jwt", "application/at+jwt", "AT+JWT", "waybill", undefined, 1]) {
    expect(await refused(make(CLAIMS, { typ })), String(typ)).toEqual(INVALID);
  }
});

test("J9 required claims are there, and of their shape", async () => {
  await tokens.verify(make());
  for (const name of ["iss", "sub", "aud", "exp", "iat", "jti", "client_id", "epoch"]) {
    expect(await refused(make({ ...CLAIMS, [name]: undefined })), name).toEqual(INVALID);
  }
  const deep = (depth: number): unknown => (depth === 0 ? {} : { sub: "a", act: deep(depth - 1) });
  const bad: Record<string, unknown> = {
    "sub is empty": { ...CLAIMS, sub: "" },
    "sub is long": { ...CLAIMS, sub: "x".repeat(257) },
    "sub is a list": { ...CLAIMS, sub: ["users/u"] },
    "aud is an object": { ...CLAIMS, aud: {} },
    "aud has something else in it": { ...CLAIMS, aud: ["checkout", 1] },
    "aud has thousands": { ...CLAIMS, aud: Array.from({ length: 1000 }, () => "a") },
    "exp is a text": { ...CLAIMS, exp: "1900000000" },
    "exp is a fraction": { ...CLAIMS, exp: NOW_S + 0.5 },
    "exp is past all numbers": { ...CLAIMS, exp: 1e300 },
    "epoch is negative": { ...CLAIMS, epoch: -1 },
    "scope is a list": { ...CLAIMS, scope: ["a"] },
    "act is deep": { ...CLAIMS, act: deep(9) },
    "act is a text": { ...CLAIMS, act: "services/a" },
    "may_act is null": { ...CLAIMS, may_act: null },
    "may_act is a text": { ...CLAIMS, may_act: "services/a" },
    "act names nobody": { ...CLAIMS, act: { act: { sub: "a" } } },
    "cnf is unknown": { ...CLAIMS, cnf: { "x5t#S512": "x".repeat(43) } },
    "cnf is two": { ...CLAIMS, cnf: { jkt: "x".repeat(43), "x5t#S256": "x".repeat(43) } },
    "cnf is empty": { ...CLAIMS, cnf: {} },
    "claims are a list": [],
    "claims are null": "null",
    "claims are no JSON": "{",
    "claims are nested a thousand times": `${"[".repeat(1000)}${"]".repeat(1000)}`,
  };
  for (const [what, claims] of Object.entries(bad)) {
    expect(await refused(make(claims)), what).toEqual(INVALID);
  }
  expect(await refused(make({ ...CLAIMS, note: "x".repeat(9000) }))).toEqual(INVALID);
  const input = `${encode({ alg: "EdDSA", typ: "at+jwt", kid: "ed" })}.${Buffer.from([0x7b, 0xff, 0xfe, 0x7d]).toString("base64url")}`;
  const signature = sign(null, Buffer.from(input), ed25519.privateKey).toString("base64url");
  expect(await refused(`${input}.${signature}`)).toEqual(INVALID);
});

test("J10 a token is good from a minute before it was issued until a minute after its end", async () => {
  const jwt = make();
  for (const [offS, isGood] of [
    [-61, false],
    [-60, true],
    [0, true],
    [359, true],
    [360, false],
  ] as const) {
    for (const first of [true, false]) {
      // Whether its signature is known already makes no difference.
      const fresh = new AccessTokens(
        ISSUER,
        { find: (kid) => known.get(kid), refresh: async () => {} },
        () => clock.now,
      );
      clock.now = NOW_S * 1000;
      if (!first) await fresh.verify(jwt);
      clock.now = (NOW_S + offS) * 1000;
      const verified = await (async () => fresh.verify(jwt))().then(
        () => true,
        () => false,
      );
      expect(verified, `${offS} s, ${first ? "seen first" : "known"}`).toBe(isGood);
    }
  }
  expect(await refused(make({ ...CLAIMS, nbf: NOW_S + 3600 }))).toEqual(INVALID);
});

test("what was good once is not good without its key", async () => {
  const jwt = make();
  const first = tokens.verify(jwt);
  expect(first).toBeInstanceOf(Promise);
  await first;
  expect(tokens.verify(jwt)).not.toBeInstanceOf(Promise);
  const { ed } = { ed: known.get("ed")! };
  known.delete("ed");
  expect(await refused(jwt)).toEqual(INVALID);
  // Nor with another key of the same name.
  known.set("ed", { ...ed, key: known.get("ec")!.key });
  expect(await refused(jwt)).toEqual(INVALID);
});

test("how many signatures are remembered is bounded", async () => {
  const jwts = Array.from({ length: 10_002 }, (_, n) => make({ ...CLAIMS, jti: `${n}` }));
  for (const jwt of jwts) await tokens.verify(jwt);
  expect(tokens.verify(jwts.at(-1)!)).not.toBeInstanceOf(Promise);
  expect(tokens.verify(jwts[0]!)).toBeInstanceOf(Promise);
});

test("J2 a set of keys holds each kid once, and what it does not understand is left out", async () => {
  const good = await jwkOf(ed25519.publicKey, "k", "EdDSA");
  const algorithms = ["EdDSA", "ES256"];
  await expect(importKeys({ keys: [good, good] }, algorithms)).rejects.toThrow("two keys");
  for (const odd of [
    { ...good, kid: undefined },
    { ...good, use: "enc" },
    { ...good, alg: "ES256" },
    { ...good, alg: "HS256", kty: "oct", k: "AA" },
    { ...good, alg: "RS256" },
    null,
  ]) {
    expect((await importKeys({ keys: [odd] }, algorithms)).size).toBe(0);
  }
  const named = await importKeys({ keys: [{ ...good, alg: "Ed25519" }] }, algorithms);
  expect(named.get("k")?.algorithm).toBe("EdDSA");
  for (const none of [null, [], {}, { keys: {} }, { keys: Array(101).fill(good) }]) {
    await expect(importKeys(none, algorithms)).rejects.toThrow("not a JWK set");
  }
});

test("J5 K9 without an issuer no access tokens can be checked", () => {
  const source = { find: () => undefined, refresh: async () => {} };
  for (const issuer of ["", undefined, null, [ISSUER]]) {
    const construct = () => new AccessTokens(issuer as string, source);
    expect(construct).toThrow("issuer must be the iss of the tokens");
  }
});
