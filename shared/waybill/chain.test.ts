import { createHash, randomBytes } from "node:crypto";
import { expect, test } from "vitest";
import { callFingerprint, chainDigest, fingerprint } from "./chain.ts";

const sha256 = (...parts: Uint8Array[]) =>
  createHash("sha256").update(Buffer.concat(parts)).digest();
const [parent, id, state, random] = [
  randomBytes(32),
  randomBytes(16),
  randomBytes(40),
  randomBytes(16),
];

test("a chain digest is SHA-256 of the one before, session, version, the state's SHA-256 and random bytes", () => {
  const version = Buffer.from([0, 0, 1, 2]);
  expect(chainDigest(parent, id, 258, state, random)).toEqual(
    sha256(parent, id, version, sha256(state), random),
  );
});

test("with any of it another the digest is another", () => {
  const usual = chainDigest(parent, id, 2, state, random);
  const others = [
    chainDigest(Buffer.alloc(0), id, 2, state, random),
    chainDigest(parent, randomBytes(16), 2, state, random),
    chainDigest(parent, id, 3, state, random),
    chainDigest(parent, id, 2, randomBytes(40), random),
    chainDigest(parent, id, 2, state, randomBytes(16)),
  ];
  for (const other of others) expect(other).not.toEqual(usual);
});

test("what one table holds of a digest is not what the other does, nor the digest", () => {
  const [anchor, advance] = [fingerprint("anchor", parent), fingerprint("advance", parent)];
  expect(anchor).not.toEqual(advance);
  expect([anchor, advance]).not.toContainEqual(parent);
  const [key, request] = [randomBytes(32), randomBytes(32)];
  const call = callFingerprint(parent, key, request);
  expect(callFingerprint(randomBytes(32), key, request)).not.toEqual(call);
  expect(callFingerprint(parent, request, key)).not.toEqual(call);
});
