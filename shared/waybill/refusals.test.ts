import { randomBytes } from "node:crypto";
import { Metadata } from "@grpc/grpc-js";
import { expect, test } from "vitest";
import { Envelope, type EnvelopeV1 } from "../../proto/gen/waybill/envelope/v1/envelope.ts";
import { SessionState } from "../../proto/gen/waybill/session/v1/session.ts";
import { makeKey, makeRing } from "../../test/support/rings.ts";
import { nonCanonical } from "../../test/support/wire/nonCanonical.ts";
import { Errors, StatusError } from "../errors.ts";
import { fixedRing, type RingKey, type RingSource } from "../rings/ring.ts";
import { receive } from "./carriers.ts";
import { encodeHeader, type Sealed, toCompact } from "./jwe.ts";
import type { Owner } from "./owner.ts";
import { Sealer } from "./sealer.ts";
import { Sessions } from "./sessions.ts";
import type { TokenType } from "./subkey.ts";

const NOW_S = 1_800_000_000;
const CONTRACT = {
  audience: "session",
  stateType: "waybill.session.v1.SessionState",
  ...{ revision: 1, mode: "carried" as const, idleS: 600, absoluteS: 3600 },
};
const ADA: Owner = {
  ...{ subject: "users/ada", client: "app", epoch: 1, family: undefined },
  thumbprint: randomBytes(32).toString("base64url"),
};
/** A caller without a token. */
const NOBODY = Symbol("nobody");
const key = makeKey();
const destroyed: RingKey = { ...makeKey("destroyed"), key: Buffer.alloc(0) };
const ring = fixedRing(makeRing("session", [key, destroyed]));
const sessionsOf = (source: RingSource) =>
  new Sessions(CONTRACT, SessionState, source, { now: () => NOW_S * 1000 });
const sessions = sessionsOf(ring);

/** A waybill of Ada's, or with other fields in its envelope. */
function sealed(
  changes: Partial<EnvelopeV1> = {},
  { type = "waybill", audience = "session", keys = [key] as RingKey[] } = {},
): Sealed {
  const begun = sessions.begin(ADA);
  const value = { ...sessions.successor(begun, Buffer.alloc(0)), ...changes };
  const plaintext = Envelope.encode({ version: { $case: "v1", value } }).finish();
  const source = fixedRing(makeRing(audience, keys));
  return new Sealer(type as TokenType, audience, source).seal(plaintext);
}
const compact = (...of: Parameters<typeof sealed>) => toCompact(sealed(...of));
const kid = (ringKeyId: string) => `${ringKeyId}.${randomBytes(16).toString("base64url")}`;
/** A text of a stranger's own, under the id of a key. */
const forged = (ringKeyId: string) =>
  toCompact({ ...sealed(), header: encodeHeader("waybill", kid(ringKeyId)) });
const withHeader = (changes: Record<string, unknown>) => {
  const { header, ...rest } = sealed();
  const fields = { ...JSON.parse(Buffer.from(header, "base64url").toString("utf8")), ...changes };
  return toCompact({ ...rest, header: Buffer.from(JSON.stringify(fields)).toString("base64url") });
};

/** Presents a waybill as a call does, and gives the whole status that the caller gets. */
async function answer(text: string, holder: Owner | typeof NOBODY = ADA, from = sessions) {
  const metadata = new Metadata();
  metadata.set("waybill", text);
  try {
    const owner = holder === NOBODY ? undefined : holder;
    await from.open(receive(metadata, undefined).sealed!, owner);
    return "OPENED";
  } catch (error) {
    expect(error).toBeInstanceOf(StatusError);
    const { code, details, metadata: sent } = (error as StatusError).toStatusObject();
    return { reason: (error as StatusError).reason, code, details, sent: sent?.toJSON() };
  }
}
const reasonOf = async (...of: Parameters<typeof answer>) => {
  const answered = await answer(...of);
  return answered === "OPENED" ? answered : answered.reason;
};

test("K5 a waybill that does not open gets one answer, whatever the reason", async () => {
  expect(await answer(compact())).toBe("OPENED");
  const good = compact();
  const [head, , iv, ciphertext, tag] = good.split(".") as [string, string, string, string, string];
  const texts: Record<string, string[]> = {
    "no JWE": ["x", "a.b.c", `${good}.`, good.slice(0, -1), `.${good}`],
    "a changed part": [
      toCompact({ ...sealed(), tag: randomBytes(16) }),
      toCompact({ ...sealed(), iv: randomBytes(12) }),
      toCompact({ ...sealed(), ciphertext: randomBytes(80) }),
      `${head}.AA.${iv}.${ciphertext}.${tag}`,
    ],
    "a text that is not canonical": nonCanonical(good),
    "another header": [
      withHeader({ alg: "A256KW" }),
      withHeader({ enc: "A128GCM" }),
      withHeader({ typ: "cursor" }),
      withHeader({ kid: "x" }),
      withHeader({ zip: "DEF" }),
      withHeader({ crit: ["x"] }),
    ],
    "an unknown key": [forged("AAAAAAAAAAA"), compact({}, { keys: [makeKey()] })],
    "a known key's id, and no key": [forged(key.id)],
    "another audience": [compact({ audience: "other" }), compact({}, { audience: "other" })],
    "another type of token": [compact({}, { type: "cursor" }), compact({}, { type: "answer" })],
    "another session's shape": [
      compact({ sessionId: Buffer.alloc(15) }),
      compact({ mode: 2 }),
      compact({ digest: Buffer.alloc(32) }),
      compact({ version: 2 ** 31 - 1 }),
    ],
    "the future": [compact({ issuedAt: BigInt(NOW_S + 61) })],
  };
  const expected = await answer(toCompact({ ...sealed(), tag: randomBytes(16) }));
  expect(expected).toMatchObject({ reason: "WAYBILL_INVALID" });
  for (const [what, each] of Object.entries(texts)) {
    for (const text of each) expect(await answer(text), what).toEqual(expected);
  }
  const others = [
    NOBODY,
    { ...ADA, subject: "users/bob" },
    { ...ADA, client: "other" },
    { ...ADA, thumbprint: randomBytes(32).toString("base64url") },
    { ...ADA, thumbprint: undefined },
  ] as const;
  for (const holder of others) expect(await answer(good, holder)).toEqual(expected);
  // Only its holder learns of its other faults.
  const expired = compact({ idleExpiresAt: BigInt(NOW_S) });
  const newer = compact({ stateRevision: 2 });
  expect(await reasonOf(expired)).toBe("WAYBILL_EXPIRED");
  expect(await reasonOf(newer)).toBe("STATE_SCHEMA_UNSUPPORTED");
  for (const text of [expired, newer]) {
    for (const holder of others) expect(await answer(text, holder)).toEqual(expected);
  }
});

test("K5 exceptions: a destroyed key's public id, and a ring that cannot be fetched", async () => {
  // Anybody can write that id, so the answer tells a forger nothing.
  expect(await reasonOf(forged(destroyed.id))).toBe("WAYBILL_REVOKED");
  expect(await reasonOf(forged(destroyed.id), NOBODY)).toBe("WAYBILL_REVOKED");
  const unreachable: RingSource = {
    ...ring,
    refresh: () => Promise.reject(Errors.KEYS_UNAVAILABLE({ retryAfterMs: 1000 })),
  };
  const away = sessionsOf(unreachable);
  expect(await reasonOf(compact(), ADA, away)).toBe("OPENED");
  expect(await reasonOf(forged("AAAAAAAAAAA"), ADA, away)).toBe("KEYS_UNAVAILABLE");
  // Without a current ring, genuine and forged waybills look the same.
  const none = sessionsOf({ ...unreachable, current: () => undefined });
  for (const text of [compact(), forged(key.id), forged(destroyed.id)]) {
    expect(await reasonOf(text, ADA, none)).toBe("KEYS_UNAVAILABLE");
  }
});

test("K5 what is refused for its form is refused before anything is opened", async () => {
  const metadata = new Metadata();
  metadata.add("waybill", compact());
  metadata.add("waybill", compact());
  expect(() => receive(metadata, undefined)).toThrow(
    expect.objectContaining({ reason: "METADATA_DUPLICATED" }),
  );
  expect(await reasonOf("x".repeat(4097))).toBe("WAYBILL_TOO_LARGE");
});
