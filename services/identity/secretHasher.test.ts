import { expect, test } from "vitest";
import { DEFAULT_COST, parseCost, SecretHasher } from "./secretHasher.ts";

const CHEAP = { memoryKib: 64, passes: 1, lanes: 1 };

test("G9 hashes with Argon2id and a new salt, and matches only the same secret", async () => {
  const hasher = new SecretHasher(CHEAP);
  const [one, other] = [await hasher.hash("a secret"), await hasher.hash("a secret")];
  expect(one).toMatch(/^\$argon2id\$v=19\$m=64,t=1,p=1\$[\w+/]{22}\$[\w+/]{43}$/);
  expect(one).not.toBe(other);
  expect(await hasher.verify("a secret", one)).toEqual({ matches: true, isOutdated: false });
  expect(await hasher.verify("a secret ", one)).toMatchObject({ matches: false });
  // An é may be one character or two.
  const accented = await hasher.hash("caf\u00e9 caf\u00e9 caf\u00e9");
  expect((await hasher.verify("cafe\u0301 cafe\u0301 cafe\u0301", accented)).matches).toBe(true);
});

test("G10 spends the same work on an unknown account as on a wrong secret", async () => {
  const hasher = new SecretHasher(CHEAP);
  const hash = await hasher.hash("a secret");
  const count = async (verify: () => Promise<{ matches: boolean }>) => {
    const before = hasher.computed;
    expect((await verify()).matches).toBe(false);
    return hasher.computed - before;
  };
  expect(await count(() => hasher.verify("wrong", hash))).toBe(1);
  expect(await count(() => hasher.verify("wrong", undefined))).toBe(1);
});

test("matches a hash of another cost and reports it as outdated", async () => {
  const hash = await new SecretHasher(CHEAP).hash("a secret");
  const dearer = new SecretHasher({ ...CHEAP, passes: 2 });
  expect(await dearer.verify("a secret", hash)).toEqual({ matches: true, isOutdated: true });
});

test("refuses calls beyond the queue limit", async () => {
  const hasher = new SecretHasher(CHEAP);
  const settled = await Promise.allSettled(
    Array.from({ length: 110 }, () => hasher.verify("a", undefined)),
  );
  const refused = settled.filter(({ status }) => status === "rejected");
  expect(refused).toHaveLength(8);
  expect(await hasher.verify("a", undefined)).toMatchObject({ matches: false });
});

test("parses a cost, and refuses one out of range", () => {
  expect(parseCost("m=19456,t=2,p=1")).toEqual(DEFAULT_COST);
  expect(parseCost("m=2097152,t=100,p=16")).toEqual({ memoryKib: 2 ** 21, passes: 100, lanes: 16 });
  for (const bad of [
    "",
    "m=7,t=1,p=1",
    "m=64,t=0,p=1",
    "m=64,t=1,p=0",
    "m=64,t=1",
    "m=1e9,t=1,p=1",
  ]) {
    expect(() => parseCost(bad), bad).toThrow("expected m=");
  }
});
