import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { SessionState } from "#proto/waybill/session/v1/session.ts";
import { StatusError } from "#shared/errors.ts";
import { toField } from "#shared/waybill/carriers.ts";
import { Cursors } from "#shared/waybill/cursors.ts";
import { fromCompact, type Sealed, toCompact } from "#shared/waybill/jwe.ts";
import { Opener } from "#shared/waybill/opener.ts";
import { Sealer } from "#shared/waybill/sealer.ts";
import { Sessions } from "#shared/waybill/sessions.ts";
import { makeKey, makeRingSource } from "../support/rings.ts";

const CONTRACT = {
  audience: "session",
  stateType: "waybill.session.v1.SessionState",
  revision: 1,
  mode: "carried" as const,
  idleS: 1800,
  absoluteS: 86_400,
};

const ring = makeRingSource("session");
const sealer = new Sealer("waybill", "session", ring);
const opener = new Opener("waybill", "session", ring);
const sessions = new Sessions(CONTRACT, SessionState, ring);

async function reasonOf(call: () => unknown): Promise<string> {
  try {
    await call();
  } catch (error) {
    return error instanceof StatusError ? error.reason : `${error}`;
  }
  return "opened";
}

/** Reads a token from metadata as a server does: checks its form, then opens it. */
async function present(token: string): Promise<string> {
  const sealed = fromCompact(token);
  return sealed === undefined ? "WAYBILL_INVALID" : reasonOf(() => sessions.open(sealed));
}

test("a sealed payload opens to the same bytes", async () => {
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ maxLength: 3000 }), async (plaintext) => {
      const token = toCompact(sealer.seal(plaintext));
      expect(Buffer.compare((await opener.open(fromCompact(token)!))!, plaintext)).toBe(0);
    }),
  );
});

test("a session opens with its sealed contents", async () => {
  const json = fc.dictionary(fc.string(), fc.oneof(fc.string(), fc.boolean(), fc.constant(null)));
  await fc.assert(
    fc.asyncProperty(json, fc.string({ minLength: 1 }), async (value, subject) => {
      const begun = sessions.begin(undefined, subject);
      const session = { ...begun, envelope: { ...begun.envelope, version: 6 } };
      const state = SessionState.create({ value: { $case: "json", value } });
      const opened = await sessions.open(
        sessions.seal(sessions.successor(session, sessions.encode(state))),
        {
          subject,
          client: "",
          epoch: 0,
        },
      );
      expect(opened).toMatchObject({ id: begun.id, subject, version: 7 });
      expect(SessionState.encode(opened.state).finish()).toEqual(
        SessionState.encode(state).finish(),
      );
    }),
  );
});

describe("K3 refuses any flipped bit with the same error", () => {
  const session = sessions.begin();
  const state = sessions.encode(
    SessionState.create({ value: { $case: "json", value: { name: "a state of some length" } } }),
  );
  const sealed = sessions.seal(sessions.successor(session, state));

  test("in the compact form", async () => {
    const token = toCompact(sealed);
    expect(await present(token)).toBe("opened");
    for (let at = 0; at < token.length; at += 1) {
      for (let bit = 0; bit < 8; bit += 1) {
        const bytes = Buffer.from(token);
        bytes[at]! ^= 1 << bit;
        expect(await present(bytes.toString("latin1")), `byte ${at}, bit ${bit}`).toBe(
          "WAYBILL_INVALID",
        );
      }
    }
  });

  test("in the fields of a message", async () => {
    const field = toField(sealed);
    const toSealed = (parts: typeof field): Sealed => ({
      header: parts.protected.toString("base64url"),
      iv: parts.iv,
      ciphertext: parts.ciphertext,
      tag: parts.tag,
    });
    expect(await reasonOf(() => sessions.open(toSealed(field)))).toBe("opened");
    for (const part of ["protected", "iv", "ciphertext", "tag"] as const) {
      for (let at = 0; at < field[part].length * 8; at += 1) {
        const bytes = Buffer.from(field[part]);
        bytes[at >> 3]! ^= 1 << (at & 7);
        const flipped = toSealed({ ...field, [part]: bytes });
        expect(await reasonOf(() => sessions.open(flipped)), `${part}, bit ${at}`).toBe(
          "WAYBILL_INVALID",
        );
      }
    }
  });
});

test("refuses a token that was cut, extended or re-encoded", async () => {
  const token = toCompact(sessions.seal(sessions.successor(sessions.begin(), new Uint8Array())));
  expect(await present(token)).toBe("opened");
  for (let length = 0; length < token.length; length += 1) {
    expect(await present(token.slice(0, length)), `cut to ${length}`).toBe("WAYBILL_INVALID");
  }
  for (const other of [`${token}A`, `${token}=`, `${token}.`, `.${token}`, `${token}\n`]) {
    expect(await present(other)).toBe("WAYBILL_INVALID");
  }
});

test("K4 refuses another audience's token, even under equal keys", async () => {
  const keys = [makeKey()];
  const checkout = new Sealer("waybill", "checkout", makeRingSource("checkout", keys));
  const sealed = checkout.seal(Buffer.from("state"));
  expect(
    await new Opener("waybill", "checkout", makeRingSource("checkout", keys)).open(sealed),
  ).toEqual(Buffer.from("state"));
  expect(await new Opener("waybill", "session", makeRingSource("session", keys)).open(sealed)).toBe(
    undefined,
  );
});

test("J8 cursors and waybills never open as each other", async () => {
  const cursors = new Cursors("session", ring);
  const question = Buffer.from("question");
  const cursor = cursors.seal("/a.B/C", question, Buffer.from("position"));
  expect(await cursors.open("/a.B/C", question, cursor)).toEqual(Buffer.from("position"));
  expect(await present(cursor)).toBe("WAYBILL_INVALID");
  const waybill = toCompact(sessions.seal(sessions.successor(sessions.begin(), new Uint8Array())));
  expect(await reasonOf(() => cursors.open("/a.B/C", question, waybill))).toBe(
    "PAGE_TOKEN_INVALID",
  );
});

test("refuses a cursor of another method or query", async () => {
  const cursors = new Cursors("catalog", makeRingSource("catalog"));
  await fc.assert(
    fc.asyncProperty(fc.uint8Array(), fc.uint8Array(), fc.uint8Array(), async (a, b, position) => {
      const token = cursors.seal("/a.B/C", a, position);
      expect(Buffer.compare(await cursors.open("/a.B/C", a, token), position)).toBe(0);
      const isSame = Buffer.compare(a, b) === 0;
      expect(await reasonOf(() => cursors.open("/a.B/C", b, token))).toBe(
        isSame ? "opened" : "PAGE_TOKEN_INVALID",
      );
      expect(await reasonOf(() => cursors.open("/a.B/D", a, token))).toBe("PAGE_TOKEN_INVALID");
    }),
  );
});
