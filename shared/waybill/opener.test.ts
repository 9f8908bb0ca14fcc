import { randomBytes } from "node:crypto";
import { beforeEach, expect, test, vi } from "vitest";
import { makeKey, makeRingSource } from "../../test/support/rings.ts";
import type { StatusError } from "../errors.ts";
import { Opener } from "./opener.ts";
import { Sealer } from "./sealer.ts";
import { Sessions } from "./sessions.ts";

/** Counts the derived keys and decryptions of opening. */
const work = vi.hoisted(() => ({ derived: 0, decrypted: 0 }));
vi.mock(import("node:crypto"), async (original) => {
  const crypto = await original();
  return {
    ...crypto,
    hkdfSync: ((...args: Parameters<typeof crypto.hkdfSync>) => {
      work.derived += 1;
      return crypto.hkdfSync(...args);
    }) as typeof crypto.hkdfSync,
    createDecipheriv: ((...args: Parameters<typeof crypto.createDecipheriv>) => {
      work.decrypted += 1;
      return crypto.createDecipheriv(...args);
    }) as typeof crypto.createDecipheriv,
  };
});
beforeEach(() => {
  work.derived = 0;
  work.decrypted = 0;
});

const plaintext = Buffer.from("plaintext");
/** One key, as if it stood in the rings of both audiences: the worst case. */
const keys = [makeKey()];
const ringOf = (audience: string) => makeRingSource(audience, keys);
const sealFor = (audience: string) =>
  new Sealer("waybill", audience, ringOf(audience)).seal(plaintext);
const otherTag = (sealed: ReturnType<typeof sealFor>) => ({ ...sealed, tag: randomBytes(16) });

test("K5 a bad tag and a wrong audience get the same answer for the same work", () => {
  const refusals = [otherTag(sealFor("a")), sealFor("b"), otherTag(sealFor("b"))].map((sealed) => {
    Object.assign(work, { derived: 0, decrypted: 0 });
    const opener = new Opener("waybill", "a", ringOf("a"));
    return { plaintext: opener.open(sealed), cached: opener.cached, ...work };
  });
  for (const refusal of refusals) {
    expect(refusal).toEqual({ plaintext: undefined, cached: 0, derived: 1, decrypted: 1 });
  }
});

test("K5 a bad tag and a wrong subject get the same answer for the same work", async () => {
  const contract = {
    audience: "a",
    stateType: "t",
    revision: 1,
    mode: "carried" as const,
    idleS: 60,
    absoluteS: 60,
  };
  const codec = {
    create: () => Buffer.alloc(0),
    decode: (bytes: Uint8Array) => Buffer.from(bytes),
    encode: (bytes: Buffer) => ({ finish: () => bytes }),
  };
  const ada = { subject: "users/ada", client: "", epoch: 1 };
  const sessions = () => new Sessions(contract, codec, ringOf("a"));
  const made = sessions();
  const sealed = made.seal(made.successor(made.begin(ada), Buffer.alloc(0)));
  expect((await sessions().open(sealed, ada)).subject).toBe(ada.subject);
  const bob = { ...ada, subject: "users/bob" };
  const refusals = [];
  for (const [presented, holder] of [
    [otherTag(sealed), ada],
    [sealed, bob],
    [sealed, { ...ada, client: "serviceAccounts/other" }],
    [sealed, undefined],
  ] as const) {
    Object.assign(work, { derived: 0, decrypted: 0 });
    const opening = (async () => sessions().open(presented, holder))();
    const error = await opening.catch((thrown: StatusError) => thrown);
    const { reason, message } = error as StatusError;
    refusals.push({ reason, message, ...work });
  }
  expect(refusals[0]).toMatchObject({ reason: "WAYBILL_INVALID", derived: 1, decrypted: 1 });
  for (const refusal of refusals) expect(refusal).toEqual(refusals[0]);
});

test("K5 what opens costs as much as what does not, the first time and later", () => {
  const opener = new Opener("waybill", "a", ringOf("a"));
  const sealed = sealFor("a");
  const costs = [sealed, sealed, otherTag(sealed)].map((each) => {
    Object.assign(work, { derived: 0, decrypted: 0 });
    void opener.open(each);
    return { ...work };
  });
  expect(costs).toEqual([
    { derived: 1, decrypted: 1 },
    { derived: 0, decrypted: 1 },
    { derived: 0, decrypted: 1 },
  ]);
});

test("salts that a stranger invents are not kept", () => {
  const opener = new Opener("waybill", "a", ringOf("a"));
  expect(opener.open(sealFor("a"))).toEqual(plaintext);
  for (let round = 0; round < 100; round += 1) void opener.open(otherTag(sealFor("a")));
  expect(opener.cached).toBe(1);
});

test("however many sub-keys there are, no more than 4,096 are kept, and the oldest goes first", () => {
  const opener = new Opener("waybill", "a", ringOf("a"));
  const tokens = Array.from({ length: 4097 }, () => sealFor("a"));
  for (const token of tokens) expect(opener.open(token)).toEqual(plaintext);
  expect(opener.cached).toBe(4096);
  Object.assign(work, { derived: 0, decrypted: 0 });
  expect(opener.open(tokens[1]!)).toEqual(plaintext);
  expect(work.derived).toBe(0);
  expect(opener.open(tokens[0]!)).toEqual(plaintext);
  expect(work.derived).toBe(1);
  expect(opener.cached).toBe(4096);
});
