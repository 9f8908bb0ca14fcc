import { createSecretKey, randomBytes } from "node:crypto";
import fc from "fast-check";
import { expect, test } from "vitest";
import type { SigningKey } from "../signingKeys/signingKeys.ts";
import { deriveRefreshToken, readRefreshToken } from "./refreshTokens.ts";

const make = (id: string): SigningKey => ({
  ...{ id, algorithm: "HMAC", publicJwk: {}, state: "active" },
  ...{ key: createSecretKey(randomBytes(32)), createdAt: new Date(), activatesAt: new Date() },
});
const keys = [make("AAAAAAAAAAA"), make("BBBBBBBBBBA")];
const keyOf = async (id: string) => keys.find((key) => key.id === id);
const read = (token: string) => readRefreshToken(token, keyOf);

const positions = fc.record({
  family: fc.uuid({ version: 7 }),
  generation: fc.integer({ min: 1, max: 2 ** 32 - 1 }),
  keyId: fc.constantFrom("AAAAAAAAAAA", "BBBBBBBBBBA"),
});

test("reads the position of a derived token, and derives the same token again", async () => {
  await fc.assert(
    fc.asyncProperty(positions, async (position) => {
      const key = keys.find(({ id }) => id === position.keyId)!;
      const token = deriveRefreshToken(position, key);
      expect(token).toMatch(/^wbr_[\w-]{80}$/);
      expect(deriveRefreshToken(position, key)).toBe(token);
      expect(await read(token)).toEqual(position);
    }),
  );
});

test("refuses a refresh token with any bit changed", async () => {
  const position = {
    family: "0198f7a0-0000-7000-8000-000000000000",
    generation: 7,
    keyId: "AAAAAAAAAAA",
  };
  const token = deriveRefreshToken(position, keys[0]!);
  const bytes = Buffer.from(token.slice(4), "base64url");
  for (let bit = 0; bit < bytes.length * 8; bit += 1) {
    const flipped = Buffer.from(bytes);
    flipped[bit >> 3]! ^= 1 << (bit & 7);
    expect(await read(`wbr_${flipped.toString("base64url")}`)).toBeUndefined();
  }
  for (const none of ["", "wbr_", token.slice(4), `${token}A`, token.slice(0, -1), ` ${token}`]) {
    expect(await read(none)).toBeUndefined();
  }
  // A token of the same position under another key.
  expect(await read(deriveRefreshToken(position, keys[1]!))).toBeUndefined();
});
