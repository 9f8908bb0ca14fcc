import { expect, test } from "vitest";
import { CheckoutState } from "../../proto/gen/waybill/checkout/v1/checkout_state.ts";
import { Envelope, type EnvelopeV1 } from "../../proto/gen/waybill/envelope/v1/envelope.ts";
import { SessionState } from "../../proto/gen/waybill/session/v1/session.ts";
import { makeRingSource } from "../../test/support/rings.ts";
import { Sealer } from "./sealer.ts";
import { Sessions, type SessionsOptions } from "./sessions.ts";
import { unknownOf } from "./state/unknownFields.ts";

const CONTRACT = {
  audience: "session",
  stateType: "waybill.session.v1.SessionState",
  revision: 2,
  mode: "carried" as const,
  idleS: 600,
  absoluteS: 3600,
};

const START = 1_800_000_000_000;

function setUp(contract = CONTRACT) {
  const clock = { now: START };
  const ring = makeRingSource("session");
  const make = (changes = {}, options: SessionsOptions = {}) =>
    new Sessions({ ...contract, ...changes }, SessionState, ring, {
      now: () => clock.now,
      ...options,
    });
  const sessions = make();
  const seal = (subject?: string) =>
    sessions.seal(sessions.successor(sessions.begin(undefined, subject), new Uint8Array()));
  /** Seals any envelope, as another program under the same key might. */
  const sealRaw = (plaintext: Uint8Array) => new Sealer("waybill", "session", ring).seal(plaintext);
  const sealWith = (changes: Partial<EnvelopeV1>) => {
    const begun = sessions.begin().envelope;
    const value = { ...begun, version: 1, stateRevision: 2, ...changes };
    return sealRaw(Envelope.encode({ version: { $case: "v1", value } }).finish());
  };
  return { clock, make, sessions, seal, sealRaw, sealWith };
}

const refused = (reason: string) => expect.objectContaining({ reason });

test("S2 a waybill idles out, and a newer one lives on until the session's end", async () => {
  const { clock, sessions, seal } = setUp();
  const first = seal();
  clock.now += 599_000;
  const opened = await sessions.open(first);
  const second = sessions.seal(sessions.successor(opened, new Uint8Array()));
  clock.now += 1000;
  await expect(async () => sessions.open(first)).rejects.toThrow(refused("WAYBILL_EXPIRED"));
  const renewed = await sessions.open(second);
  expect(renewed.version).toBe(2);
  expect(renewed.idleExpiresAt).toBe(opened.nextIdleExpiresAt);
  expect(renewed.idleExpiresAt - opened.idleExpiresAt).toBe(599_000);
});

test("a waybill renewed is the same version with the same state, whatever its revision, for longer", async () => {
  const { clock, make, sessions, sealWith } = setUp();
  const first = sealWith({
    stateRevision: 1,
    content: { $case: "state", value: Buffer.from([8, 1]) },
  });
  clock.now += 599_000;
  const upgrades = { 1: { up: () => Buffer.alloc(0) } };
  const opened = await make({}, { upgrades }).open(first);
  const { envelope } = await sessions.open(sessions.seal(sessions.renewed(opened)));
  expect(envelope).toEqual({
    ...opened.envelope,
    issuedAt: BigInt(clock.now / 1000),
    idleExpiresAt: BigInt(clock.now / 1000 + 600),
  });
});

test("S2 each of both ends counts to the second", async () => {
  const { clock, sessions, sealWith } = setUp();
  const endS = BigInt(START / 1000 + 100);
  for (const ends of [{ idleExpiresAt: endS }, { expiresAt: endS }]) {
    const sealed = sealWith(ends);
    clock.now = START + 99_999;
    expect((await sessions.open(sealed)).version).toBe(1);
    clock.now = START + 100_000;
    await expect(async () => sessions.open(sealed)).rejects.toThrow(refused("WAYBILL_EXPIRED"));
    clock.now = START;
  }
});

test("an envelope that says anything else than this audience's own is refused", async () => {
  const { sessions, sealWith } = setUp();
  expect((await sessions.open(sealWith({}))).version).toBe(1);
  for (const changes of [
    { audience: "checkout" },
    { audience: "" },
    { sessionId: Buffer.alloc(15) },
    { sessionId: Buffer.alloc(0) },
    { mode: 2 },
    { mode: 0 },
    { confirmation: Buffer.alloc(32) },
  ]) {
    await expect(
      async () => sessions.open(sealWith(changes)),
      `${Object.keys(changes)}`,
    ).rejects.toThrow(refused("WAYBILL_INVALID"));
  }
});

test("what a newer program has sealed is refused by name, what is none at all as invalid", async () => {
  const { sessions, sealRaw, sealWith } = setUp();
  const spill = { address: Buffer.alloc(32), key: Buffer.alloc(32) };
  for (const sealed of [
    // A version of the envelope that is not known here.
    sealRaw(Buffer.from([0x12, 0x01, 0x00])),
    sealRaw(Buffer.alloc(0)),
    sealWith({ content: { $case: "spill", value: spill } }),
    sealWith({ content: undefined }),
    // A state that is no message.
    sealWith({ content: { $case: "state", value: Buffer.from([0xff]) } }),
  ]) {
    await expect(async () => sessions.open(sealed)).rejects.toThrow(
      refused("STATE_SCHEMA_UNSUPPORTED"),
    );
  }
  await expect(async () => sessions.open(sealRaw(Buffer.from([0xff])))).rejects.toThrow(
    refused("WAYBILL_INVALID"),
  );
});

test("S2 no waybill outlives the session's absolute life", async () => {
  const { clock, sessions, seal } = setUp();
  let sealed = seal();
  for (let minute = 0; minute < 59; minute += 1) {
    clock.now += 60_000;
    sealed = sessions.seal(sessions.successor(await sessions.open(sealed), new Uint8Array()));
  }
  clock.now += 60_000;
  await expect(async () => sessions.open(sealed)).rejects.toThrow(refused("WAYBILL_EXPIRED"));
});

test("J10 a clock that runs behind by a minute is forgiven, by more is not", async () => {
  const { clock, sessions, seal } = setUp();
  const sealed = seal();
  clock.now -= 60_000;
  expect((await sessions.open(sealed)).version).toBe(1);
  clock.now -= 1000;
  await expect(async () => sessions.open(sealed)).rejects.toThrow(refused("WAYBILL_INVALID"));
});

test("a waybill whose session ends anyway does not age: a newer one would live no longer", async () => {
  const { clock, sessions, sealWith } = setUp();
  const endS = BigInt(START / 1000 + 600);
  const last = sealWith({ idleExpiresAt: endS, expiresAt: endS });
  const notYet = sealWith({ idleExpiresAt: endS, expiresAt: endS + 1n });
  clock.now += 500_000;
  expect(sessions.isAging(await sessions.open(last))).toBe(false);
  expect(sessions.isAging(await sessions.open(notYet))).toBe(true);
});

test("a waybill ages when less than half of its idle life is left", async () => {
  const { clock, sessions, seal } = setUp();
  const sealed = seal();
  clock.now += 300_000;
  expect(sessions.isAging(await sessions.open(sealed))).toBe(false);
  clock.now += 1000;
  expect(sessions.isAging(await sessions.open(sealed))).toBe(true);
});

test("a state of a newer revision, or of another type, is refused by name", async () => {
  const { make, seal } = setUp();
  const sealed = seal();
  await expect(async () => make({ revision: 1 }).open(sealed)).rejects.toThrow(
    expect.objectContaining({
      reason: "STATE_SCHEMA_UNSUPPORTED",
      details: expect.objectContaining({
        metadata: { type: "waybill.session.v1.SessionState", revision: "2" },
      }),
    }),
  );
  await expect(async () => make({ stateType: "other.State" }).open(sealed)).rejects.toThrow(
    refused("STATE_SCHEMA_UNSUPPORTED"),
  );
  expect((await make({ revision: 3 }).open(sealed)).version).toBe(1);
});

test("fields of the state that are not known here travel on byte for byte", async () => {
  const { sessions } = setUp();
  const known = SessionState.encode(
    SessionState.create({ value: { $case: "json", value: { a: "b" } } }),
  ).finish();
  // Field 1000, a string, and field 2000, a varint.
  const unknown = Buffer.from([0xc2, 0x3e, 3, 0x61, 0x62, 0x63, 0x80, 0x7d, 0x96, 1]);
  const session = sessions.begin();
  const opened = await sessions.open(
    sessions.seal(sessions.successor(session, Buffer.concat([known, unknown]))),
  );
  opened.state.value = { $case: "json", value: { a: "changed" } };
  const encoded = Buffer.from(sessions.encode(opened.state));
  expect(encoded.includes(unknown.subarray(0, 6))).toBe(true);
  expect(encoded.includes(unknown.subarray(6))).toBe(true);
});

test("what was taken out with one version of a stream makes room for something fresh in the next", async () => {
  const item = { product: "", title: "", unitPrice: undefined, quantity: 1 };
  const checkouts = new Sessions(CONTRACT, CheckoutState, makeRingSource("session"));
  const session = checkouts.begin();
  session.state.items = [{ ...item, _unknownFields: { 1602: [Buffer.from("036e6577", "hex")] } }];
  session.unknown = unknownOf(session.state);
  session.state.items = [];
  checkouts.advanceTo(session, checkouts.successor(session, checkouts.encode(session.state)));
  session.state.items = [item];
  checkouts.encode(session.state, session.unknown);
});

test("an anonymous session belongs to a subject of its own, a given one to that", () => {
  const { sessions } = setUp();
  const session = sessions.begin();
  expect(session.subject).toBe(`anonymous/${session.id}`);
  expect(sessions.begin(undefined, "anonymous/x").subject).toBe("anonymous/x");
});

test("which versions are kept is as the contract says, unless a handler says otherwise, and goes with the waybill", async () => {
  const { make } = setUp();
  const sessions = make({ checkpointEvery: 4 });
  const session = sessions.begin();
  expect(session.checkpointEvery).toBe(4);
  session.checkpointEvery = 9;
  const opened = await sessions.open(
    sessions.seal(sessions.successor(session, sessions.encode(session.state))),
  );
  expect(opened.checkpointEvery).toBe(9);
  expect(sessions.successor(opened, new Uint8Array()).checkpointEvery).toBe(9);
  expect(make().begin().checkpointEvery).toBe(0);
});
