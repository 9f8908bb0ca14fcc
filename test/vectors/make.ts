/**
 * Makes the vectors of the newest format. An existing file was shipped: it is never made again, and every
 * later version must open it.
 */
import { createHash } from "node:crypto";
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Cursor, CursorV1, Envelope, EnvelopeV1 } from "#proto/waybill/envelope/v1/envelope.ts";
import { SessionState } from "#proto/waybill/session/v1/session.ts";
import { encodeHeader, encrypt, headerKey, toCompact } from "#shared/waybill/jwe.ts";
import { deriveSubkey, subkeyId, type TokenType } from "#shared/waybill/subkey.ts";

/** Derives reproducible bytes that look random. */
const bytes = (name: string, size: number) =>
  createHash("shake256", { outputLength: size }).update(name).digest();

const RING_KEY_ID = "dmVjdG9yczE";
const ISSUED_AT = 1_800_000_000n;

const state = SessionState.encode(
  SessionState.create({ value: { $case: "json", value: { greeting: "Grüß Gott", count: 3 } } }),
).finish();

const least = EnvelopeV1.create({
  sessionId: bytes("least", 16),
  version: 1,
  subject: "anonymous/01a20a7a-1363-719b-8e80-1e22d9f6161f",
  audience: "session",
  issuedAt: ISSUED_AT,
  idleExpiresAt: ISSUED_AT + 1800n,
  expiresAt: ISSUED_AT + 86_400n,
  mode: 1,
  stateType: "waybill.session.v1.SessionState",
  stateRevision: 1,
  content: { $case: "state", value: Buffer.from(state) },
});

const full = EnvelopeV1.create({
  ...least,
  sessionId: bytes("full", 16),
  version: 4_000_000_000,
  digest: bytes("digest", 32),
  parentDigest: bytes("parent", 32),
  subject: "users/ünïcode",
  client: "clients/web",
  subjectEpoch: 7,
  familyId: bytes("family", 16),
  confirmation: bytes("confirmation", 32),
});

const cursor = CursorV1.create({
  method: "/waybill.catalog.v1.CatalogService/ListProducts",
  requestDigest: createHash("sha256").update("request").digest(),
  position: Buffer.from('["Moon","41"]'),
  expiresAt: ISSUED_AT + 86_400n,
});

function vector(name: string, type: TokenType, plaintext: Uint8Array) {
  const ringKey = bytes("ring key", 32);
  const salt = bytes(`salt of ${name}`, 16);
  const iv = bytes(`iv of ${name}`, 12);
  const key = deriveSubkey(ringKey, salt, type, "session");
  const sealed = encrypt(
    headerKey(key, encodeHeader(type, subkeyId(RING_KEY_ID, salt))),
    iv,
    plaintext,
  );
  return {
    name,
    type,
    audience: "session",
    ringKeyId: RING_KEY_ID,
    ringKey: ringKey.toString("hex"),
    salt: salt.toString("hex"),
    iv: iv.toString("hex"),
    plaintext: Buffer.from(plaintext).toString("hex"),
    token: toCompact(sealed),
  };
}

const file = join(import.meta.dirname, "v1.json");
if (existsSync(file)) throw new Error(`${file} has been shipped: make a new format's beside it`);
const envelope = (value: EnvelopeV1) =>
  Envelope.encode({ version: { $case: "v1", value } }).finish();
const vectors = [
  vector("a waybill with what every one has", "waybill", envelope(least)),
  vector("a waybill with every field", "waybill", envelope(full)),
  vector("a cursor", "cursor", Cursor.encode({ version: { $case: "v1", value: cursor } }).finish()),
];
writeFileSync(file, `${JSON.stringify(vectors, null, 2)}\n`);
