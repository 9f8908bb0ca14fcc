import { createHmac, generateKeyPairSync } from "node:crypto";
import { type CryptoKey, exportJWK, SignJWT } from "jose";
import { beforeAll, expect, test } from "vitest";
import { makeCredentials } from "../../../test/support/callers/credentials.ts";
import { nonCanonical } from "../../../test/support/wire/nonCanonical.ts";
import { assertService, serviceAuthentication } from "./assertion.ts";

const METHOD = "/waybill.keys.v1.KeysService/GetRing";
const TYPE = "waybill-service+jwt";

const credentials = await makeCredentials();
const authenticate = serviceAuthentication(credentials);
let own: CryptoKey;
beforeAll(async () => {
  own = await credentials.own("session");
});

interface Variant {
  header?: Record<string, unknown>;
  claims?: Record<string, unknown>;
  key?: Parameters<SignJWT["sign"]>[0];
}

/** The assertion of `session`, changed. */
async function make({ header, claims, key = own }: Variant = {}): Promise<string> {
  const now = Math.floor(Date.now() / 1000);
  const usual = { iss: "session", sub: "session", aud: METHOD, iat: now, exp: now + 60, jti: "1" };
  const jwt = new SignJWT({ ...usual, ...claims });
  return `Bearer ${await jwt.setProtectedHeader({ alg: "EdDSA", typ: TYPE, kid: "session", ...header }).sign(key)}`;
}

const refused = expect.objectContaining({ reason: "CREDENTIAL_INVALID" });

/** The untouched twin is let in, this one is not. */
async function expectRefused(authorization: string | undefined): Promise<void> {
  expect((await authenticate(await make(), METHOD)).service).toBe("session");
  await expect(authenticate(authorization, METHOD)).rejects.toThrow(refused);
}

test("a service is known by its own key, and what it vouches for comes along", async () => {
  const oneTimeKey = { kty: "OKP", crv: "X25519", x: "AAAA" };
  const authorization = await assertService(credentials, "checkout", METHOD, oneTimeKey);
  expect(await authenticate(authorization, METHOD)).toEqual({ service: "checkout", oneTimeKey });
});

test.each([
  ["J6 another method's", { claims: { aud: "/waybill.keys.v1.KeysService/RotateRing" } }],
  ["J6 no audience", { claims: { aud: undefined } }],
  ["J5 another issuer than the key's", { claims: { iss: "checkout" } }],
  ["J5 another subject than the key's", { claims: { sub: "checkout" } }],
  ["J8 another type", { header: { typ: "at+jwt" } }],
  ["J8 no type", { header: { typ: undefined } }],
  ["J9 no expiry", { claims: { exp: undefined } }],
  ["J9 no id", { claims: { jti: undefined } }],
  ["J10 expired by more than the skew", { claims: { exp: 1_000_000 } }],
  ["J10 issued long ago", { claims: { iat: 1_000_000 } }],
  ["J7 an unknown kid", { header: { kid: "nobody" } }],
  ["J7 a kid that is a path", { header: { kid: "../session" } }],
])("%s assertion is refused", async (_, variant) => {
  await expectRefused(await make(variant));
});

test("J5 an assertion signed by another service's key is refused", async () => {
  await expectRefused(await make({ key: await credentials.own("checkout") }));
});

test("an assertion longer than 4,096 characters is not looked at", async () => {
  const padded = async (length: number) => make({ claims: { pad: "A".repeat(length) } });
  let length = 2700;
  while ((await padded(length + 1)).length <= "Bearer ".length + 4096) length += 1;
  expect((await authenticate(await padded(length), METHOD)).service).toBe("session");
  await expectRefused(await padded(length + 1));
});

test("J1 alg none, HMAC with the public key, and RSA are refused", async () => {
  const [header, payload] = (await make()).slice("Bearer ".length).split(".") as [string, string];
  const encode = (value: unknown) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const none = encode({ alg: "none", typ: TYPE, kid: "session" });
  await expectRefused(`Bearer ${none}.${payload}.`);
  const { x } = await exportJWK((await credentials.peer("session"))!.key);
  const hs256 = encode({ alg: "HS256", typ: TYPE, kid: "session" });
  const mac = createHmac("sha256", Buffer.from(x!, "base64url")).update(`${hs256}.${payload}`);
  await expectRefused(`Bearer ${hs256}.${payload}.${mac.digest("base64url")}`);
  const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  await expectRefused(await make({ header: { alg: "RS256" }, key: privateKey }));
  expect(header).not.toBe(none);
});

test.each([undefined, "", "Bearer ", "Basic c2VjcmV0", "Bearer a.b", "Bearer a.b.c"])(
  "no credential: %s",
  async (authorization) => {
    await expectRefused(authorization);
  },
);

test("C5 an assertion in a text that is not canonical base64url is refused", async () => {
  for (const other of nonCanonical(await make())) await expectRefused(other);
});
