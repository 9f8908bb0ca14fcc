import { randomInt } from "node:crypto";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Envelope, type EnvelopeV1 } from "#proto/waybill/envelope/v1/envelope.ts";
import { decodeEnvelope, encodeEnvelope } from "#shared/waybill/envelopeCodec.ts";
import { runs } from "../support/random.ts";

const seed = Number(process.env["SEED"] ?? randomInt(2 ** 31));
console.log(`envelopes: SEED=${seed}`);
const parameters = { seed, numRuns: runs(2000) };

const bytes = (maxLength: number) => fc.uint8Array({ maxLength }).map((each) => Buffer.from(each));
const uint32 = fc.oneof(
  fc.constant(0),
  fc.nat({ max: 300 }),
  fc.integer({ min: 0, max: 2 ** 32 - 1 }),
);
const seconds = fc.oneof(
  fc.bigInt({ min: 0n, max: 2n ** 33n }),
  fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
);
const text = fc.oneof(fc.string({ maxLength: 200 }), fc.string({ unit: "binary", maxLength: 40 }));
const unknownFields = fc.oneof(
  { weight: 4, arbitrary: fc.constant(undefined) },
  // Field 99, length-delimited bytes; the generated code stores them with their length.
  {
    weight: 1,
    arbitrary: bytes(20).map((value) => ({
      [99 * 8 + 2]: [Buffer.concat([Buffer.from([value.length]), value])],
    })),
  },
);
const content: fc.Arbitrary<EnvelopeV1["content"]> = fc.oneof(
  { weight: 4, arbitrary: bytes(20_000).map((value) => ({ $case: "state" as const, value })) },
  {
    weight: 1,
    arbitrary: fc
      .record({ address: bytes(32), key: bytes(32) })
      .map((value) => ({ $case: "spill" as const, value })),
  },
  { weight: 1, arbitrary: fc.constant(undefined) },
);
const envelopes: fc.Arbitrary<EnvelopeV1> = fc
  .record({
    sessionId: bytes(16),
    version: uint32,
    digest: bytes(32),
    parentDigest: bytes(32),
    subject: text,
    client: text,
    audience: text,
    subjectEpoch: uint32,
    familyId: bytes(16),
    issuedAt: seconds,
    idleExpiresAt: seconds,
    expiresAt: seconds,
    mode: uint32,
    stateType: text,
    stateRevision: uint32,
    confirmation: bytes(32),
    content,
    checkpointEvery: uint32,
    _unknownFields: unknownFields,
  })
  .map(({ _unknownFields, ...known }) =>
    _unknownFields === undefined ? known : { ...known, _unknownFields },
  );

const NUMBERS = ["version", "subjectEpoch", "mode", "stateRevision", "checkpointEvery"] as const;
const EMPTY_STATE = { $case: "state" as const, value: Buffer.alloc(0) };

/** Encodes with the generated code. */
const generated = (envelope: EnvelopeV1) =>
  Buffer.from(Envelope.encode({ version: { $case: "v1", value: envelope } }).finish());
const decodedBy = (plaintext: Buffer): EnvelopeV1 | undefined => {
  const { version } = Envelope.decode(plaintext);
  return version?.$case === "v1" ? version.value : undefined;
};
/** The content of an envelope, the same for each decoder. */
const said = (envelope: EnvelopeV1 | undefined) =>
  envelope && Buffer.from(generated(envelope)).toString("hex");
const outcome = (decode: () => EnvelopeV1 | undefined) => {
  try {
    return { said: said(decode()) };
  } catch {
    return { said: "it throws" };
  }
};

describe("the hand-written envelope codec", () => {
  it("writes the generated code's bytes for large states", () => {
    const [envelope] = fc.sample(envelopes, { seed, numRuns: 1 });
    for (const size of [60_000, 72_000, 1_000_000]) {
      const value = Buffer.alloc(size, 7);
      const large: EnvelopeV1 = { ...envelope!, content: { $case: "state", value } };
      expect(Buffer.from(encodeEnvelope(large)).equals(generated(large)), `${size}`).toBe(true);
    }
  });

  it("writes the bytes of the generated code", () => {
    fc.assert(
      fc.property(envelopes, (envelope) => {
        expect(Buffer.from(encodeEnvelope(envelope)).equals(generated(envelope))).toBe(true);
      }),
      parameters,
    );
  });

  it.each([-1, 1.5, Number.NaN, 2 ** 32])("refuses like the generated code: %s", (number) => {
    const [envelope] = fc.sample(envelopes, { seed, numRuns: 1 });
    for (const field of NUMBERS) {
      const wrong = { ...envelope!, content: undefined, [field]: number };
      expect(() => generated(wrong), field).toThrow();
      expect(() => encodeEnvelope({ ...wrong, content: EMPTY_STATE }), field).toThrow();
    }
  });

  it("reads like the generated code", () => {
    fc.assert(
      fc.property(envelopes, (envelope) => {
        const plaintext = generated(envelope);
        const { _unknownFields: none, ...expected } = decodedBy(plaintext)!;
        expect(decodeEnvelope(plaintext)).toMatchObject(expected);
        expect(said(decodeEnvelope(plaintext))).toBe(said(decodedBy(plaintext)));
      }),
      parameters,
    );
  });

  it("reads or refuses corrupt envelopes like the generated code", () => {
    const damage = fc.record({
      cut: fc.nat(),
      byte: fc.nat(),
      value: fc.nat({ max: 255 }),
      after: bytes(8),
    });
    fc.assert(
      fc.property(envelopes, damage, (envelope, { cut, byte, value, after }) => {
        const whole = generated(envelope);
        const damaged = Buffer.concat([whole.subarray(0, whole.length - (cut % 4)), after]);
        damaged[byte % Math.min(damaged.length, 120)] = value;
        expect(outcome(() => decodeEnvelope(damaged))).toEqual(outcome(() => decodedBy(damaged)));
      }),
      parameters,
    );
  });

  it.each([
    ["a 33-bit number", [10, 7, 16, 133, 128, 128, 128, 128, 1]],
    ["a 65-bit number", [10, 12, 16, ...Array(10).fill(255), 1]],
    ["the envelope twice", [10, 2, 16, 1, 10, 2, 104, 1]],
    ["a field twice", [10, 4, 16, 1, 16, 2]],
    ["a field of another type", [10, 3, 18, 1, 0]],
    ["no envelope", []],
    ["another version", [18, 2, 16, 1]],
    ["a length beyond the end", [10, 3, 10, 9, 1]],
  ])("handles %s like the generated code", (_what, plaintext) => {
    const bytes = Buffer.from(plaintext);
    expect(outcome(() => decodeEnvelope(bytes))).toEqual(outcome(() => decodedBy(bytes)));
  });
});
