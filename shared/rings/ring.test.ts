import { randomBytes } from "node:crypto";
import { describe, expect, test } from "vitest";
import { makeKey, makeRing, makeRingSource } from "../../test/support/rings.ts";
import { SavedResponses } from "../anchors/savedResponses.ts";
import type { StatusError } from "../errors.ts";
import { Cursors } from "../waybill/cursors.ts";
import { Opener } from "../waybill/opener.ts";
import { Sealer } from "../waybill/sealer.ts";
import { checkRing, fixedRing, type Ring, type RingKey, type RingSource } from "./ring.ts";

const ID = "AAAAAAAAAAA";
const OTHER_ID = "AAAAAAAAAAE";
const bytes = randomBytes(32);
const good: RingKey = { id: ID, state: "active", key: bytes };
const other: RingKey = { id: OTHER_ID, state: "retired", key: randomBytes(32) };
const plaintext = Buffer.from("x");

/** A source that a program wrote itself: it returns its ring unchecked. */
class OwnSource implements RingSource {
  ring: Ring | undefined;
  constructor(ring?: Ring) {
    this.ring = ring;
  }
  current() {
    return this.ring;
  }
  sealing() {
    const key = this.ring?.keys?.find?.((each) => each?.state === "active");
    return key && { key, revision: 1 };
  }
  async refresh() {
    return this.ring!;
  }
}

// Values of types that a TypeScript program cannot pass in without a cast; JavaScript has no such limit.
const key = (change: object): unknown => ({ ...good, ...change });
const BAD_KEYS: [string, unknown, RegExp][] = [
  ["no key object", null, /index 1 must be an object/],
  ["undefined", undefined, /index 1 must be an object/],
  ["a string for a key", "AAAAAAAAAAA", /index 1 must be an object/],
  ["empty bytes", key({ key: Buffer.alloc(0) }), /AAAAAAAAAAA must be 32 bytes long, not 0/],
  ["16 bytes", key({ key: randomBytes(16) }), /AAAAAAAAAAA must be 32 bytes long, not 16/],
  ["31 bytes", key({ key: randomBytes(31) }), /AAAAAAAAAAA must be 32 bytes long, not 31/],
  ["33 bytes", key({ key: randomBytes(33) }), /AAAAAAAAAAA must be 32 bytes long, not 33/],
  ["zeros", key({ key: Buffer.alloc(32) }), /AAAAAAAAAAA must be random bytes, not 32 zeros/],
  ["text", key({ key: "k".repeat(32) }), /AAAAAAAAAAA must be a Buffer or Uint8Array of 32 bytes/],
  ["no bytes", key({ key: undefined }), /AAAAAAAAAAA must be a Buffer or Uint8Array/],
  ["an ArrayBuffer", key({ key: new ArrayBuffer(32) }), /must be a Buffer or Uint8Array/],
  ["a DataView", key({ key: new DataView(bytes.buffer, 0, 32) }), /must be a Buffer or Uint8Array/],
  ["16-bit numbers", key({ key: new Uint16Array(32).fill(7) }), /must be a Buffer or Uint8Array/],
  ["an array of numbers", key({ key: [...bytes] }), /must be a Buffer or Uint8Array/],
  ["an object with a length", key({ key: { length: 32 } }), /must be a Buffer or Uint8Array/],
  ["an empty id", key({ id: "" }), /index 1 must have an id of 8 bytes in base64url/],
  ["a short id", key({ id: "AAAAAAAAAA" }), /index 1 must have an id/],
  ["a long id", key({ id: "AAAAAAAAAAAA" }), /index 1 must have an id/],
  ["an id with a dot", key({ id: "AAAAA.AAAAA" }), /index 1 must have an id/],
  ["an id of standard base64", key({ id: "AAAAA+AAAAA" }), /index 1 must have an id/],
  ["an id with unused bits set", key({ id: "AAAAAAAAAAB" }), /index 1 must have an id/],
  ["an id and a line break", key({ id: "AAAAAAAAAAA\n" }), /index 1 must have an id/],
  ["a number as id", key({ id: 12345678901 }), /index 1 must have an id/],
  ["a state in capitals", key({ state: "Active" }), /AAAAAAAAAAA must have one of the states/],
  ["no state", key({ state: undefined }), /AAAAAAAAAAA must have one of the states/],
  ["an inherited name as state", key({ state: "constructor" }), /must have one of the states/],
  ["a destroyed key's bytes", key({ state: "destroyed" }), /destroyed: its bytes must be an empty/],
  ["a destroyed key without", key({ state: "destroyed", key: null }), /its bytes must be an empty/],
];
const ring = (change: object): unknown => ({ ...makeRing("counter"), ...change });
const BAD_RINGS: [string, unknown, RegExp][] = [
  ...BAD_KEYS.map(([name, bad, rule]): [string, unknown, RegExp] => [
    name,
    ring({ keys: [other, bad] }),
    rule,
  ]),
  ["no ring", null, /a ring must be an object/],
  ["text for a ring", "counter", /a ring must be an object/],
  ["no audience", ring({ audience: undefined }), /audience must be a string that matches/],
  ["an empty audience", ring({ audience: "" }), /audience must be a string that matches/],
  ["an audience in capitals", ring({ audience: "Counter" }), /audience must be a string that/],
  ["an audience with a dot", ring({ audience: "counter.v1" }), /audience must be a string that/],
  ["an audience and a line break", ring({ audience: "counter\n" }), /audience must be a string/],
  ["an audience of 64 characters", ring({ audience: "a".repeat(64) }), /audience must be a string/],
  ["an array as audience", ring({ audience: ["counter"] }), /audience must be a string/],
  ["no version", ring({ version: undefined }), /ring of counter: its version must be a whole/],
  ["version -1", ring({ version: -1 }), /its version must be a whole number/],
  ["version NaN", ring({ version: Number.NaN }), /its version must be a whole number/],
  ["version 1.5", ring({ version: 1.5 }), /its version must be a whole number/],
  ["version 2^53", ring({ version: 2 ** 53 }), /its version must be a whole number/],
  ["version as text", ring({ version: "1" }), /its version must be a whole number/],
  ["version as bigint", ring({ version: 1n }), /its version must be a whole number/],
  ["no keys", ring({ keys: undefined }), /its keys must be an array/],
  ["an empty list of keys", ring({ keys: [] }), /its keys must be an array with at least one key/],
  ["keys by id", ring({ keys: { [ID]: good } }), /its keys must be an array/],
  ["a set of keys", ring({ keys: new Set([good]) }), /its keys must be an array/],
  [
    "a hole in the list",
    ring({ keys: Object.assign([other], { 2: good }) }),
    /index 1 must be an object/,
  ],
  [
    "one id twice",
    ring({ keys: [good, { ...other, id: ID }] }),
    /two keys have the id AAAAAAAAAAA/,
  ],
  [
    "one id twice, of a destroyed key",
    ring({ keys: [good, { id: ID, state: "destroyed", key: Buffer.alloc(0) }] }),
    /two keys have the id AAAAAAAAAAA/,
  ],
  [
    "two active keys",
    ring({ keys: [good, { ...other, state: "active" }] }),
    /AAAAAAAAAAA and AAAAAAAAAAE are both active/,
  ],
  [
    "the same bytes under two ids",
    ring({ keys: [good, { ...other, key: Uint8Array.from(bytes) }] }),
    /AAAAAAAAAAA and AAAAAAAAAAE have the same bytes/,
  ],
];

/** Runs a function that must throw. @returns the error's message */
function messageOf(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    expect(error).toBeInstanceOf(Error);
    return (error as Error).message;
  }
  throw new Error("nothing was thrown");
}

describe("K9 a ring is refused at construction, by key and rule, with", () => {
  test.each(BAD_RINGS)("%s", (_name, bad, rule) => {
    expect(() => fixedRing(makeRing("counter", [other, good]))).not.toThrow();
    expect(messageOf(() => fixedRing(bad as Ring))).toMatch(rule);
    // Every place that takes a RingSource refuses the same ring.
    const source = () => new OwnSource(bad as Ring);
    if (bad === null) return;
    for (const construct of [
      () => new Sealer("waybill", "counter", source()),
      () => new Opener("waybill", "counter", source()),
      () => new Cursors("counter", source()),
      () => new SavedResponses("counter", source()),
    ]) {
      expect(messageOf(construct)).toMatch(rule);
    }
  });

  test("what is no RingSource", () => {
    for (const bad of [undefined, null, makeRing("counter"), { current: () => undefined }]) {
      const construct = () => new Sealer("waybill", "counter", bad as unknown as RingSource);
      expect(messageOf(construct)).toMatch(/a RingSource must have the method/);
    }
  });

  test("the ring of another audience, where one is asked for", () => {
    expect(checkRing(makeRing("counter"), "counter").audience).toBe("counter");
    const message = messageOf(() => checkRing(makeRing("counter"), "checkout"));
    expect(message).toBe("the ring of counter: its audience must be checkout");
  });
});

test("K8 K9 no error about a key contains its bytes", () => {
  const secrets = [randomBytes(16), randomBytes(33)].map((each) => each.toString("base64url"));
  for (const secret of secrets) {
    const bad: unknown[] = [
      { ...good, key: Buffer.from(secret, "base64url") },
      { ...good, key: secret },
      { ...good, id: secret },
      { ...good, state: secret },
    ];
    for (const each of bad) {
      const message = messageOf(() => fixedRing(makeRing("counter", [each as RingKey])));
      expect(message).not.toContain(secret);
      expect(message).not.toContain(Buffer.from(secret, "base64url").toString("hex"));
    }
  }
});

test("accepts every form of 32 bytes, frozen objects and foreign properties", async () => {
  const inLarger = new Uint8Array([...randomBytes(5), ...bytes, ...randomBytes(5)]);
  const shared = new Uint8Array(new SharedArrayBuffer(32));
  shared.set(bytes);
  for (const same of [Uint8Array.from(bytes), inLarger.subarray(5, 37), shared]) {
    const withMore = Object.freeze({ ...good, key: same, createdAt: 1 });
    const more = Object.freeze({ ...makeRing("counter"), keys: [withMore], label: "mine" });
    const sealed = new Sealer("waybill", "counter", fixedRing(Object.freeze(more))).seal(plaintext);
    const opener = new Opener("waybill", "counter", makeRingSource("counter", [good]));
    expect(await opener.open(sealed)).toEqual(plaintext);
  }
  const destroyed: RingKey = { ...other, state: "destroyed", key: new Uint8Array(0) };
  const gone: RingKey = { ...destroyed, id: makeKey().id };
  expect(() => fixedRing(makeRing("a", [good, destroyed, gone]))).not.toThrow();
  expect(() => fixedRing({ ...makeRing("a", [good]), version: 0 })).not.toThrow();
});

test("a ring without an active key opens and does not seal", async () => {
  const sealed = new Sealer("waybill", "a", makeRingSource("a", [good])).seal(plaintext);
  const retired = makeRingSource("a", [{ ...good, state: "retired" }]);
  expect(await new Opener("waybill", "a", retired).open(sealed)).toEqual(plaintext);
  expect(() => new Sealer("waybill", "a", retired).seal(plaintext)).toThrow(
    expect.objectContaining({ reason: "KEYS_UNAVAILABLE" }),
  );
});

test("K9 a later change of the caller's objects and bytes changes no key", async () => {
  const own = { ...good, key: Buffer.from(bytes) };
  const changing: Ring & { keys: RingKey[] } = { ...makeRing("a"), keys: [own] };
  const fixed = fixedRing(changing);
  const source = new OwnSource(changing);
  const sealers = [fixed, source].map((each) => new Sealer("waybill", "a", each));
  const openers = [fixed, source].map((each) => new Opener("waybill", "a", each));
  own.key.fill(0);
  changing.keys.push({ ...other, id: makeKey().id, state: "active" });
  for (const sealer of sealers) {
    const sealed = sealer.seal(plaintext);
    const opener = new Opener("waybill", "a", makeRingSource("a", [good]));
    expect(await opener.open(sealed)).toEqual(plaintext);
    for (const each of openers) expect(await each.open(sealed)).toEqual(plaintext);
  }
  expect(() => (fixed.current()!.keys as RingKey[]).push(other)).toThrow(TypeError);
});

describe("K9 a ring that becomes bad while a program runs", () => {
  const unavailable = expect.objectContaining({ reason: "KEYS_UNAVAILABLE" });
  const bad = { ...makeRing("a"), keys: [{ ...good, key: Buffer.alloc(0) }] };

  test("opens and seals nothing, and the log is told the key and the rule", async () => {
    const source = new OwnSource(makeRing("a", [good]));
    const [sealer, opener] = [
      new Sealer("waybill", "a", source),
      new Opener("waybill", "a", source),
    ];
    const sealed = sealer.seal(plaintext);
    expect(await opener.open(sealed)).toEqual(plaintext);
    source.ring = bad;
    for (const use of [() => sealer.seal(plaintext), () => opener.open(sealed)]) {
      expect(use).toThrow(unavailable);
      try {
        use();
      } catch (error) {
        const { cause } = (error as StatusError).details;
        expect((cause as Error).message).toBe(
          "the ring key AAAAAAAAAAA must be 32 bytes long, not 0",
        );
      }
    }
    source.ring = makeRing("a", [good]);
    expect(await opener.open(sealed)).toEqual(plaintext);
    expect(await opener.open(sealer.seal(plaintext))).toEqual(plaintext);
  });

  test("is refused when it is fetched for a token, too", async () => {
    const source = new OwnSource();
    const opener = new Opener("waybill", "a", source);
    const sealed = new Sealer("waybill", "a", makeRingSource("a", [good])).seal(plaintext);
    source.current = () => undefined;
    source.ring = bad;
    await expect(opener.open(sealed)).rejects.toThrow(unavailable);
    source.ring = makeRing("a", [good]);
    expect(await opener.open(sealed)).toEqual(plaintext);
  });

  test("is noticed when its version grows in place", async () => {
    const changing: { -readonly [Name in keyof Ring]: Ring[Name] } = makeRing("a", [other]);
    const opener = new Opener("waybill", "a", new OwnSource(changing));
    const sealed = new Sealer("waybill", "a", makeRingSource("a", [good])).seal(plaintext);
    expect(await opener.open(sealed)).toBe(undefined);
    changing.keys = [other, good];
    changing.version = 2;
    expect(await opener.open(sealed)).toEqual(plaintext);
  });

  test.each<[string, unknown, string]>([
    [
      "a pending key",
      { key: { ...good, state: "pending" }, revision: 1 },
      "must be active to seal",
    ],
    [
      "a revision that is no number",
      { key: good, revision: Number.NaN },
      "the revision to seal in",
    ],
    ["no revision", { key: good }, "the revision to seal in"],
    ["a bad key beside a good ring", { key: { ...good, key: "k" }, revision: 1 }, "32 bytes"],
  ])("refuses to seal with %s", (_name, sealing, rule) => {
    const source = { ...makeRingSource("a", [good]), sealing: () => sealing } as RingSource;
    expect(messageOf(() => new Sealer("waybill", "a", source))).toContain(rule);
  });
});

test("a ring is checked once, not with each token", () => {
  const source = new OwnSource();
  let reads = 0;
  const read = () => {
    reads += 1;
    return bytes;
  };
  const counted = { id: ID, state: "active" as const };
  Object.defineProperty(counted, "key", { enumerable: true, get: read });
  source.ring = makeRing("a", [counted as RingKey]);
  const [sealer, opener] = [new Sealer("waybill", "a", source), new Opener("waybill", "a", source)];
  expect(reads).toBeGreaterThan(0);
  const before = reads;
  for (let nth = 0; nth < 100; nth += 1) opener.open(sealer.seal(plaintext));
  expect(reads).toBe(before);
});
