import { expect, test } from "vitest";
import { SessionState } from "../../proto/gen/waybill/session/v1/session.ts";
import { makeRingSource } from "../../test/fixtures/rings.ts";
import { Sessions } from "./sessions.ts";

const CONTRACT = {
  audience: "session",
  stateType: "waybill.session.v1.SessionState",
  revision: 2,
  idleS: 600,
  absoluteS: 3600,
};

function setUp(contract = CONTRACT) {
  const clock = { now: 1_800_000_000_000 };
  const ring = makeRingSource("session");
  const make = (changes = {}) =>
    new Sessions({ ...contract, ...changes }, SessionState, ring, () => clock.now);
  const sessions = make();
  const seal = (subject?: string) => sessions.seal(sessions.begin(subject), new Uint8Array(), 1);
  return { clock, make, sessions, seal };
}

const refused = (reason: string) => expect.objectContaining({ reason });

test("S2 a waybill idles out, and a newer one lives on until the session's end", async () => {
  const { clock, sessions, seal } = setUp();
  const first = seal();
  clock.now += 599_000;
  const opened = await sessions.open(first);
  const second = sessions.seal(opened, new Uint8Array(), 2);
  clock.now += 1000;
  await expect(sessions.open(first)).rejects.toThrow(refused("WAYBILL_EXPIRED"));
  const renewed = await sessions.open(second);
  expect(renewed.version).toBe(2);
  expect(renewed.idleExpiresAt).toBe(opened.nextIdleExpiresAt);
  expect(renewed.idleExpiresAt - opened.idleExpiresAt).toBe(599_000);
});

test("S2 no waybill outlives the session's absolute life", async () => {
  const { clock, sessions, seal } = setUp();
  let sealed = seal();
  for (let minute = 0; minute < 59; minute += 1) {
    clock.now += 60_000;
    sealed = sessions.seal(await sessions.open(sealed), new Uint8Array(), minute + 2);
  }
  clock.now += 60_000;
  await expect(sessions.open(sealed)).rejects.toThrow(refused("WAYBILL_EXPIRED"));
});

test("J10 a clock that runs behind by a minute is forgiven, by more is not", async () => {
  const { clock, sessions, seal } = setUp();
  const sealed = seal();
  clock.now -= 60_000;
  expect((await sessions.open(sealed)).version).toBe(1);
  clock.now -= 1000;
  await expect(sessions.open(sealed)).rejects.toThrow(refused("WAYBILL_INVALID"));
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
  await expect(make({ revision: 1 }).open(sealed)).rejects.toThrow(
    expect.objectContaining({
      reason: "STATE_SCHEMA_UNSUPPORTED",
      details: expect.objectContaining({
        metadata: { type: "waybill.session.v1.SessionState", revision: "2" },
      }),
    }),
  );
  await expect(make({ stateType: "other.State" }).open(sealed)).rejects.toThrow(
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
  const opened = await sessions.open(sessions.seal(session, Buffer.concat([known, unknown]), 1));
  opened.state.value = { $case: "json", value: { a: "changed" } };
  const encoded = Buffer.from(sessions.encode(opened.state));
  expect(encoded.includes(unknown.subarray(0, 6))).toBe(true);
  expect(encoded.includes(unknown.subarray(6))).toBe(true);
});

test("an anonymous session belongs to a subject of its own, a given one to that", () => {
  const { sessions } = setUp();
  const session = sessions.begin();
  expect(session.subject).toBe(`anonymous/${session.id}`);
  expect(sessions.begin("anonymous/x").subject).toBe("anonymous/x");
});
