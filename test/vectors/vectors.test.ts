import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { Envelope } from "#proto/waybill/envelope/v1/envelope.ts";
import { SessionState } from "#proto/waybill/session/v1/session.ts";
import { fixedRing } from "#shared/rings/ring.ts";
import { toField } from "#shared/waybill/carriers.ts";
import { encodeHeader, encrypt, fromCompact, headerKey, toCompact } from "#shared/waybill/jwe.ts";
import { Opener } from "#shared/waybill/opener.ts";
import { Sessions } from "#shared/waybill/sessions.ts";
import { deriveSubkey, subkeyId, type TokenType } from "#shared/waybill/subkey.ts";

interface Vector {
  name: string;
  type: TokenType;
  audience: string;
  ringKeyId: string;
  ringKey: string;
  salt: string;
  iv: string;
  plaintext: string;
  token: string;
}

const FILES = readdirSync(import.meta.dirname).filter((file) => file.endsWith(".json"));
const CONTRACT = {
  audience: "session",
  stateType: "waybill.session.v1.SessionState",
  revision: 1,
  mode: "carried" as const,
  idleS: 1800,
  absoluteS: 86_400,
};

describe.each(FILES)("%s: released vectors open", (file) => {
  const vectors = JSON.parse(readFileSync(join(import.meta.dirname, file), "utf8")) as Vector[];

  test.each(vectors)("$name", async (vector) => {
    const hex = (text: string) => Buffer.from(text, "hex");
    const { type, audience, ringKeyId } = vector;
    const key = { id: ringKeyId, state: "retired" as const, key: hex(vector.ringKey) };
    const ring = fixedRing({ audience, version: 1, keys: [key] });
    const sealed = fromCompact(vector.token)!;

    const plaintext = await new Opener(type, audience, ring).open(sealed);
    expect(plaintext?.toString("hex")).toBe(vector.plaintext);

    // With the same key and random bytes, sealing gives the same token byte by byte.
    const salt = hex(vector.salt);
    const header = encodeHeader(type, subkeyId(ringKeyId, salt));
    const subkey = deriveSubkey(key.key, salt, type, audience);
    const again = encrypt(headerKey(subkey, header), hex(vector.iv), hex(vector.plaintext));
    expect(toCompact(again)).toBe(vector.token);

    if (type !== "waybill") return;
    const state = { value: { $case: "json", value: { greeting: "Grüß Gott", count: 3 } } };
    const envelope = Envelope.decode(plaintext!).version!.value;
    const { content } = envelope;
    expect(content?.$case === "state" && SessionState.decode(content.value)).toMatchObject(state);
    const sessions = new Sessions(CONTRACT, SessionState, ring, { now: () => 1_800_000_100_000 });
    const opened = (async () => sessions.open(sealed))();
    if (envelope.confirmation.length === 0) {
      expect((await opened).state).toMatchObject(state);
    } else {
      // It is bound to a key; no proof is required yet.
      await expect(opened).rejects.toMatchObject({ reason: "WAYBILL_INVALID" });
    }
    const { protected: protectedHeader } = toField(sealed);
    expect(JSON.parse(protectedHeader.toString())).toMatchObject({ typ: "waybill", alg: "dir" });
  });
});

describe("an earlier program's state opens in any encoding:", () => {
  const key = { id: "dmVjdG9yczE", state: "active" as const, key: Buffer.alloc(32, 7) };
  const ring = fixedRing({ audience: "session", version: 1, keys: [key] });
  const sessions = new Sessions(CONTRACT, SessionState, ring);
  const json = Buffer.from(
    SessionState.encode(
      SessionState.create({ value: { $case: "json", value: { a: 1 } } }),
    ).finish(),
  );
  const opened = async (state: Buffer) => {
    const { envelope } = sessions.begin();
    const content = { $case: "state" as const, value: state };
    return (await sessions.open(sessions.seal({ ...envelope, content }))).state;
  };
  const expected = { value: { $case: "json", value: { a: 1 } } };

  // strictScan refuses these encodings from a caller.
  test.each([
    ["as this program writes it", ""],
    ["with its value set twice", `0a00${json.toString("hex")}`],
    ["with a known field in another wire type", `0807${json.toString("hex")}`],
    ["with a tag longer than necessary", `8a00${json.subarray(1).toString("hex")}`],
    ["with many unknown fields", `c20cc03e${"78".repeat(8000)}${json.toString("hex")}`],
  ])("%s", async (_name, hex) => {
    expect(await opened(hex === "" ? json : Buffer.from(hex, "hex"))).toMatchObject(expected);
  });
});
