import { CompactEncrypt, compactDecrypt, importJWK } from "jose";
import { expect, test } from "vitest";
import { Ring, RingKey_State } from "../../proto/gen/waybill/keys/v1/keys.ts";
import { makeCredentials } from "../../test/support/callers/credentials.ts";
import { nonCanonical } from "../../test/support/wire/nonCanonical.ts";
import { makeOneTimeKey, openRing, sealRing } from "./sealedRing.ts";

const credentials = await makeCredentials();
const RING = Ring.create({
  audience: "checkout",
  version: 3,
  keys: [
    { id: "AAAAAAAAAAA", state: RingKey_State.STATE_ACTIVE, key: Buffer.alloc(32, 1) },
    { id: "BBBBBBBBBBB", state: RingKey_State.STATE_PENDING, key: Buffer.alloc(32, 2) },
  ],
});

test("a ring opens for the service and the one-time key that it was sealed for, and no other", async () => {
  const key = await makeOneTimeKey();
  const sealed = await sealRing(RING, "checkout", key.publicJwk, credentials);
  const ring = await openRing(sealed, "checkout", key, credentials);
  expect(ring.keys.map(({ id, state }) => [id, state])).toEqual([
    ["AAAAAAAAAAA", "active"],
    ["BBBBBBBBBBB", "pending"],
  ]);
  await expect(openRing(sealed, "checkout", await makeOneTimeKey(), credentials)).rejects.toThrow();
  await expect(openRing(sealed, "catalog", key, credentials)).rejects.toThrow("aud");
});

test("a ring that another than the key service has sealed is refused", async () => {
  const key = await makeOneTimeKey();
  const forged = await sealRing(RING, "checkout", key.publicJwk, await makeCredentials());
  await expect(openRing(forged, "checkout", key, credentials)).rejects.toThrow("signature");
});

test("a ring that was sealed to another one-time key is not taken, though somebody repacks it", async () => {
  const [first, second] = [await makeOneTimeKey(), await makeOneTimeKey()];
  const { jwe } = await sealRing(RING, "checkout", first.publicJwk, credentials);
  const { plaintext } = await compactDecrypt(jwe, first.privateKey);
  const repacked = await new CompactEncrypt(plaintext)
    .setProtectedHeader({ alg: "ECDH-ES", enc: "A256GCM", cty: "JWT" })
    .encrypt(await importJWK(second.publicJwk, "ECDH-ES"));
  await expect(openRing({ jwe: repacked }, "checkout", second, credentials)).rejects.toThrow(
    "sealed for another request",
  );
});

test("a key in a state that this program does not know is not taken for any other", async () => {
  const key = await makeOneTimeKey();
  const [first] = RING.keys;
  const newer = { ...RING, keys: [{ ...first!, state: 9 as RingKey_State }] };
  const sealed = await sealRing(newer, "checkout", key.publicJwk, credentials);
  await expect(openRing(sealed, "checkout", key, credentials)).rejects.toThrow(
    "key AAAAAAAAAAA has an unknown state 9",
  );
});

test("neither a private key nor one of another kind is sealed to", async () => {
  const { publicJwk } = await makeOneTimeKey();
  for (const wrong of [
    { ...publicJwk, d: "AAAA" },
    { ...publicJwk, crv: "X448" },
    { kty: "oct", k: "AAAA" },
  ]) {
    await expect(sealRing(RING, "checkout", wrong, credentials)).rejects.toThrow(
      expect.objectContaining({ reason: "CREDENTIAL_INVALID" }),
    );
  }
});

test("C5 a sealed ring in a text that is not canonical base64url is refused", async () => {
  const key = await makeOneTimeKey();
  const { jwe } = await sealRing(RING, "checkout", key.publicJwk, credentials);
  await openRing({ jwe }, "checkout", key, credentials);
  for (const other of nonCanonical(jwe)) {
    await expect(openRing({ jwe: other }, "checkout", key, credentials)).rejects.toThrow(
      "canonical",
    );
  }
});
