import { BinaryReader, BinaryWriter } from "@bufbuild/protobuf/wire";
import { expect, test } from "vitest";
import { SessionState } from "../../../proto/gen/waybill/session/v1/session.ts";
import { seededRandom } from "../../../test/support/random.ts";
import { makeRingSource } from "../../../test/support/rings.ts";
import { Sessions } from "../sessions.ts";
import { MAX_STATE_DEPTH, StateEncoder } from "./stateEncoder.ts";
import { upgrade } from "./upgrades.ts";

const tooDeep = expect.objectContaining({ reason: "STATE_TOO_DEEP" });
const encoder = new StateEncoder(SessionState);

type Json = Record<string, unknown>;
const stateOf = (json: Json): SessionState => ({ value: { $case: "json", value: json } });

/** JSON that is nested as its shapes say, from outside to inside. */
function nested(shapes: readonly ("object" | "list")[], innermost: unknown): Json {
  const value = shapes.reduceRight<unknown>(
    (inner, shape) => (shape === "list" ? [1, inner] : { before: "x", inner }),
    innermost,
  );
  return { value };
}

const decodes = (state: SessionState) => {
  try {
    SessionState.decode(SessionState.encode(state).finish());
    return true;
  } catch {
    return false;
  }
};
const encodes = (state: SessionState) => {
  try {
    const encoded = encoder.encode(state);
    expect(encoded.equals(SessionState.encode(state).finish())).toBe(true);
    return true;
  } catch (error) {
    expect(error).toEqual(tooDeep);
    return false;
  }
};

test("encodes exactly the states that decode again", () => {
  const random = seededRandom();
  const counts = { encoded: 0, refused: 0 };
  for (let round = 0; round < 2000; round += 1) {
    // Around the bound: an object within another is three levels, a list two.
    const shapes = Array.from({ length: 25 + random.below(30) }, () =>
      random.below(2) === 0 ? ("object" as const) : ("list" as const),
    );
    const innermost = [1, "x", null, {}, [], { a: 1 }][random.below(6)];
    const state = stateOf(nested(shapes, innermost));
    const isEncoded = encodes(state);
    expect(isEncoded).toBe(decodes(state));
    counts[isEncoded ? "encoded" : "refused"] += 1;
  }
  expect(Math.min(counts.encoded, counts.refused)).toBeGreaterThan(100);
});

test("refuses a state that contains itself", () => {
  const own: Json = {};
  own["own"] = own;
  expect(() => encoder.encode(stateOf(own))).toThrow(tooDeep);
  // Nothing of that is left to the next.
  expect(encodes(stateOf({ a: 1 }))).toBe(true);
});

/** A type that contains itself, with a packed list: encoding throws if it is nested deeper than decoders allow. */
const Chain = {
  encode(levels: number, writer = new BinaryWriter()): BinaryWriter {
    if (levels > 1) Chain.encode(levels - 1, writer.uint32(10).fork()).join();
    else writer.uint32(18).fork().int32(1).int32(2).join();
    return writer;
  },
  decode(bytes: Uint8Array): number {
    const reader = new BinaryReader(bytes);
    for (let level = 1; ; level += 1) {
      if (level > MAX_STATE_DEPTH) throw new Error("recursion limit exceeded");
      const isInnermost = reader.uint32() === 18;
      reader.uint32();
      if (isInnermost) return level;
    }
  },
  create: () => 1,
};

test("does not count a packed list as a level", () => {
  const chains = new StateEncoder(Chain);
  for (const levels of [1, MAX_STATE_DEPTH]) {
    expect(Chain.decode(chains.encode(levels))).toBe(levels);
  }
  expect(() => chains.encode(MAX_STATE_DEPTH + 1)).toThrow(tooDeep);
});

test("refuses what an upgrade would take down to a state that is too deep", () => {
  const deep = nested(Array(48).fill("list"), 1);
  expect(decodes(stateOf(deep))).toBe(true);
  const { down } = upgrade(
    SessionState,
    SessionState,
    (old) => old,
    ({ value }) => stateOf({ wrapped: value?.value }),
  );
  expect(down!(SessionState.encode(stateOf({ a: 1 })).finish())).toEqual(
    Buffer.from(SessionState.encode(stateOf({ wrapped: { a: 1 } })).finish()),
  );
  expect(() => down!(SessionState.encode(stateOf(deep)).finish())).toThrow(tooDeep);
});

test("a session seals every state that it encodes, and opens it again", async () => {
  const contract = {
    audience: "session",
    stateType: "waybill.session.v1.SessionState",
    ...{ revision: 1, mode: "carried" as const, idleS: 600, absoluteS: 3600 },
  };
  const sessions = new Sessions(contract, SessionState, makeRingSource("session"));
  let deepest = 0;
  for (let lists = 40; lists < 56; lists += 1) {
    const state = stateOf(nested(Array(lists).fill("list"), 1));
    const session = sessions.begin();
    if (!decodes(state)) {
      expect(() => sessions.encode(state)).toThrow(tooDeep);
      continue;
    }
    const sealed = sessions.seal(sessions.successor(session, sessions.encode(state)));
    expect((await sessions.open(sealed)).state).toEqual(SessionState.fromPartial(state));
    deepest = lists;
  }
  expect(deepest).toBe(48);
});
