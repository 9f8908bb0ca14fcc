import { expect, test } from "vitest";
import { makeKey, makeRing, makeRingSource } from "../../test/support/rings.ts";
import { fixedRing, type Ring } from "../rings/ring.ts";
import { Entropy } from "../runtime/entropy.ts";
import { parseHeader } from "./jwe.ts";
import { Opener } from "./opener.ts";
import { Sealer } from "./sealer.ts";

const HOUR_MS = 3_600_000;

/** Clocks that stand still until they are moved. */
function makeClocks() {
  const now = { wall: 1_800_000_000_000, monotonic: 5000 };
  return { now, clocks: { wall: () => now.wall, monotonic: () => now.monotonic } };
}

const saltOf = (header: string) => parseHeader(header, "waybill")!.salt.toString("hex");

test("K1 a sub-key seals no more often than its limit, then another one does", () => {
  const sealer = new Sealer("waybill", "a", makeRingSource("a"), { maxSeals: 3 });
  const salts = Array.from({ length: 7 }, () => saltOf(sealer.seal(Buffer.alloc(1)).header));
  expect(new Set(salts).size).toBe(3);
  expect(salts[0]).toBe(salts[2]);
  expect(salts[2]).not.toBe(salts[3]);
});

test("a sub-key lives an hour", () => {
  const { now, clocks } = makeClocks();
  const sealer = new Sealer("waybill", "a", makeRingSource("a"), { clocks });
  const pass = (ms: number) => {
    now.wall += ms;
    now.monotonic += ms;
  };
  const first = saltOf(sealer.seal(Buffer.alloc(1)).header);
  pass(HOUR_MS - 1);
  expect(saltOf(sealer.seal(Buffer.alloc(1)).header)).toBe(first);
  pass(1);
  expect(saltOf(sealer.seal(Buffer.alloc(1)).header)).not.toBe(first);
});

test("K2 after a restored memory image neither salt nor random bytes are used again", () => {
  const { now, clocks } = makeClocks();
  const sealer = new Sealer("waybill", "a", makeRingSource("a"), { clocks });
  const before = sealer.seal(Buffer.alloc(1));
  expect(saltOf(sealer.seal(Buffer.alloc(1)).header)).toBe(saltOf(before.header));
  now.wall += 1001;
  expect(saltOf(sealer.seal(Buffer.alloc(1)).header)).not.toBe(saltOf(before.header));
});

test("K2 a pool that two clones share gives them nothing in common once the clocks have parted", () => {
  const { now, clocks } = makeClocks();
  let restored = 0;
  const entropy = new Entropy(() => {
    restored += 1;
  }, clocks);
  entropy.check();
  const first = entropy.take(12);
  now.wall += 1000;
  entropy.check();
  expect(restored).toBe(0);
  now.wall += 1;
  entropy.check();
  expect(restored).toBe(1);
  expect(entropy.take(12)).not.toEqual(first);
});

test("random bytes are handed out once, and not kept", () => {
  const entropy = new Entropy(() => {});
  const taken = Array.from({ length: 1000 }, () => entropy.take(12).toString("hex"));
  expect(new Set(taken).size).toBe(1000);
});

test("without an active key nothing is sealed: KEYS_UNAVAILABLE", () => {
  const sealer = new Sealer("waybill", "a", makeRingSource("a", [makeKey("retired")]));
  expect(() => sealer.seal(Buffer.alloc(1))).toThrow(
    expect.objectContaining({ reason: "KEYS_UNAVAILABLE" }),
  );
});

test("an opener keeps no key of a token that does not verify", async () => {
  const key = makeKey();
  const opener = new Opener("waybill", "a", makeRingSource("a", [key]));
  const sealed = new Sealer("waybill", "a", makeRingSource("a", [key])).seal(Buffer.from("x"));
  expect(await opener.open(sealed)).toEqual(Buffer.from("x"));
  expect(opener.cached).toBe(1);
  for (let count = 0; count < 100; count += 1) {
    const stranger = new Sealer(
      "waybill",
      "a",
      makeRingSource("a", [{ ...makeKey(), id: key.id }]),
    );
    expect(await opener.open(stranger.seal(Buffer.from("x")))).toBe(undefined);
  }
  expect(opener.cached).toBe(1);
});

test("K7 a key that has left its ring opens nothing any more", async () => {
  const key = makeKey();
  let ring: Ring = makeRing("a", [key]);
  const source = {
    current: () => ring,
    sealing: () => undefined,
    refresh: () => Promise.resolve(ring),
  };
  const sealed = new Sealer("waybill", "a", fixedRing(ring)).seal(Buffer.from("x"));
  const opener = new Opener("waybill", "a", source);
  expect(await opener.open(sealed)).toEqual(Buffer.from("x"));
  ring = { ...makeRing("a"), version: 2 };
  expect(await opener.open(sealed)).toBe(undefined);
});

test("K7 a ring that may be out of date opens nothing, not even what it has opened before", async () => {
  const ring = makeRing("a");
  let isCurrent = true;
  let isReached = false;
  const opener = new Opener("waybill", "a", {
    current: () => (isCurrent ? ring : undefined),
    sealing: () => undefined,
    async refresh() {
      if (!isReached) throw new Error("away");
      return ring;
    },
  });
  const sealed = new Sealer("waybill", "a", fixedRing(ring)).seal(Buffer.from("x"));
  expect(opener.open(sealed)).toEqual(Buffer.from("x"));
  isCurrent = false;
  await expect(opener.open(sealed)).rejects.toThrow("away");
  isReached = true;
  expect(await opener.open(sealed)).toEqual(Buffer.from("x"));
  // A waybill counts once, however often it is sent.
  isReached = false;
  await expect(opener.open(sealed)).rejects.toThrow("away");
});

test("a token under a key not heard of yet waits for the ring to be asked for", async () => {
  const [old, young] = [makeKey("retired"), makeKey()];
  const sealed = new Sealer("waybill", "a", makeRingSource("a", [young])).seal(Buffer.from("x"));
  let ring = makeRing("a", [old]);
  let asked = 0;
  const opener = new Opener("waybill", "a", {
    current: () => ring,
    sealing: () => undefined,
    async refresh() {
      asked += 1;
      ring = makeRing("a", [old, young]);
      return ring;
    },
  });
  expect(await opener.open(sealed)).toEqual(Buffer.from("x"));
  expect(await opener.open(sealed)).toEqual(Buffer.from("x"));
  expect(asked).toBe(1);
});
