import { hkdfSync, randomBytes } from "node:crypto";
import { CompactEncrypt, compactDecrypt } from "jose";
import { expect, test } from "vitest";
import { fromCompact, toCompact } from "#shared/waybill/jwe.ts";
import { Opener } from "#shared/waybill/opener.ts";
import { Sealer } from "#shared/waybill/sealer.ts";
import { makeKey, makeRingSource } from "../support/rings.ts";

const key = makeKey();
const ring = makeRingSource("checkout", [key]);

/** Derives a subkey as documented, independently of the product's code. */
function derive(salt: Buffer, info = "waybill\0checkout"): Uint8Array {
  return new Uint8Array(hkdfSync("sha256", key.key, salt, info, 32));
}

function joseSeal(plaintext: Buffer, header: Record<string, unknown> = {}): Promise<string> {
  const salt = randomBytes(16);
  const kid = `${key.id}.${salt.toString("base64url")}`;
  return new CompactEncrypt(plaintext)
    .setProtectedHeader({ kid, alg: "dir", enc: "A256GCM", typ: "waybill", ...header })
    .encrypt(derive(salt), { crit: { b64: true } });
}

test("jose opens Waybill's tokens: same plaintext, exact header", async () => {
  const plaintext = randomBytes(200);
  const token = toCompact(new Sealer("waybill", "checkout", ring).seal(plaintext));
  const { kid } = JSON.parse(Buffer.from(token.split(".")[0]!, "base64url").toString());
  const salt = Buffer.from((kid as string).split(".")[1]!, "base64url");
  const opened = await compactDecrypt(token, derive(salt));
  expect(Buffer.from(opened.plaintext)).toEqual(plaintext);
  expect(opened.protectedHeader).toEqual({ alg: "dir", enc: "A256GCM", typ: "waybill", kid });
});

test("Waybill opens jose's tokens in any header parameter order", async () => {
  const plaintext = randomBytes(200);
  const sealed = fromCompact(await joseSeal(plaintext))!;
  expect(await new Opener("waybill", "checkout", ring).open(sealed)).toEqual(plaintext);
});

test.each([
  ["J11 zip", { zip: "DEF" }],
  ["J7 jku", { jku: "file:///keys" }],
  ["J7 x5u", { x5u: "file:///keys" }],
  ["J7 jwk", { jwk: { kty: "oct", k: "AAAA" } }],
  ["J7 crit", { crit: ["b64"], b64: true }],
  ["J1 another enc", { enc: "A128CBC-HS256" }],
  ["J8 another typ", { typ: "cursor" }],
  ["J8 no typ", { typ: undefined }],
  ["J7 a kid that is a path", { kid: "../../etc/passwd" }],
])("%s in a header is refused", async (_, header) => {
  const opener = new Opener("waybill", "checkout", ring);
  const twin = fromCompact(await joseSeal(Buffer.from("state")))!;
  expect(await opener.open(twin)).toEqual(Buffer.from("state"));
  const token = await joseSeal(Buffer.from("state"), header).catch((error: Error) => error);
  // jose supports neither compression nor a 256-bit key for every enc: in those cases only the header is
  // used.
  const sealed =
    typeof token === "string" ? fromCompact(token) : { ...twin, header: forge(header) };
  expect(sealed === undefined ? undefined : await opener.open(sealed)).toBe(undefined);
});

function forge(header: Record<string, unknown>): string {
  const kid = `${key.id}.${randomBytes(16).toString("base64url")}`;
  const fields = { alg: "dir", enc: "A256GCM", typ: "waybill", kid, ...header };
  return Buffer.from(JSON.stringify(fields)).toString("base64url");
}
