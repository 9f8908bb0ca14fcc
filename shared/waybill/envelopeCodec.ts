import { Envelope, type EnvelopeV1 } from "../../proto/gen/waybill/envelope/v1/envelope.ts";

/**
 * Encodes and decodes the protobuf envelope of a waybill by hand: one microsecond for each call with a
 * session, instead of five and thirty objects with the generated code. The generated code handles the rare
 * forms: spills, text that is not ASCII, and unknown fields or versions.
 */

/** Longest tag and length of the outer message. */
const HEAD = 6;
/** Longest tags, lengths and numbers, in all. */
const FIXED = 160;
const NOTHING = Buffer.alloc(0);
const MAX_SAFE = BigInt(Number.MAX_SAFE_INTEGER);

/** Reused for every envelope. The generated code encodes larger ones. */
const scratch = Buffer.allocUnsafeSlow(72 * 1024);

/**
 * Encodes an envelope as a waybill's plaintext.
 *
 * @returns the bytes, in a buffer that the next call overwrites
 */
export function encodeEnvelope(envelope: EnvelopeV1): Uint8Array {
  return (
    encodeUsual(envelope) ?? Envelope.encode({ version: { $case: "v1", value: envelope } }).finish()
  );
}

/**
 * Decodes a waybill's plaintext. Byte fields of the envelope share its memory.
 *
 * @returns undefined for an envelope of an unknown version
 * @throws Error if the plaintext is not an envelope
 */
export function decodeEnvelope(plaintext: Buffer): EnvelopeV1 | undefined {
  const usual = decodeUsual(plaintext);
  if (usual !== undefined) return usual;
  const { version } = Envelope.decode(plaintext);
  return version?.$case === "v1" ? version.value : undefined;
}

function encodeUsual(envelope: EnvelopeV1): Uint8Array | undefined {
  const { content, subject, client, audience, stateType } = envelope;
  if (content?.$case !== "state" || hasAny(envelope._unknownFields)) return undefined;
  const { sessionId, digest, parentDigest, familyId, confirmation } = envelope;
  const { issuedAt, idleExpiresAt, expiresAt } = envelope;
  if (!areNumbers(envelope)) return undefined;
  if (issuedAt > MAX_SAFE || idleExpiresAt > MAX_SAFE || expiresAt > MAX_SAFE) return undefined;
  const texts = subject.length + client.length + audience.length + stateType.length;
  const bytes = sessionId.length + digest.length + parentDigest.length + familyId.length;
  const most = HEAD + FIXED + texts + bytes + confirmation.length + content.value.length;
  if (most > scratch.length) return undefined;
  let at = putBytes(HEAD, 10, sessionId);
  at = putNumber(at, 16, envelope.version);
  at = putBytes(at, 26, digest);
  at = putBytes(at, 34, parentDigest);
  at = putText(at, 42, subject);
  at = putText(at, 50, client);
  at = putText(at, 58, audience);
  at = putNumber(at, 64, envelope.subjectEpoch);
  at = putBytes(at, 74, familyId);
  at = putNumber(at, 80, Number(issuedAt));
  at = putNumber(at, 88, Number(idleExpiresAt));
  at = putNumber(at, 96, Number(expiresAt));
  at = putNumber(at, 104, envelope.mode);
  at = putText(at, 114, stateType);
  at = putNumber(at, 120, envelope.stateRevision);
  at = putBytes(at, 130, confirmation);
  // The set branch of a oneof is written even if it is empty.
  at = putVarint(putVarint(at, 138), content.value.length);
  scratch.set(content.value, at);
  at = putNumber(at + content.value.length, 152, envelope.checkpointEvery);
  // `putText` met a text that is not ASCII.
  if (Number.isNaN(at)) return undefined;
  return withHead(at);
}

/** Writes the outer tag and length in front of the envelope. */
function withHead(end: number): Uint8Array {
  const length = end - HEAD;
  const start = HEAD - 1 - sizeOfVarint(length);
  scratch[start] = 10;
  putVarint(start + 1, length);
  return scratch.subarray(start, end);
}

function sizeOfVarint(value: number): number {
  let size = 1;
  for (let left = value; left >= 128; left = Math.floor(left / 128)) size += 1;
  return size;
}

function putVarint(at: number, value: number): number {
  let left = value;
  let next = at;
  while (left >= 128) {
    scratch[next] = (left % 128) | 128;
    left = Math.floor(left / 128);
    next += 1;
  }
  scratch[next] = left;
  return next + 1;
}

function putNumber(at: number, tag: number, value: number): number {
  return value === 0 ? at : putVarint(putVarint(at, tag), value);
}

function putBytes(at: number, tag: number, value: Uint8Array): number {
  if (value.length === 0) return at;
  const start = putVarint(putVarint(at, tag), value.length);
  scratch.set(value, start);
  return start + value.length;
}

/** @returns NaN if the text is not ASCII; every later position is then NaN, too */
function putText(at: number, tag: number, value: string): number {
  if (value === "") return at;
  const start = putVarint(putVarint(at, tag), value.length);
  for (let index = 0; index < value.length; index += 1) {
    const code = value.charCodeAt(index);
    if (code > 127) return Number.NaN;
    scratch[start + index] = code;
  }
  return start + value.length;
}

/** The generated code throws an error for numbers beyond 32 bits. */
function areNumbers(envelope: EnvelopeV1): boolean {
  const { version, subjectEpoch, mode, stateRevision, checkpointEvery } = envelope;
  return (
    version >>> 0 === version &&
    subjectEpoch >>> 0 === subjectEpoch &&
    mode >>> 0 === mode &&
    stateRevision >>> 0 === stateRevision &&
    checkpointEvery >>> 0 === checkpointEvery
  );
}

function hasAny(fields: object | undefined): boolean {
  for (const _ in fields) return true;
  return false;
}

/** How far a plaintext has been read. */
interface Position {
  at: number;
}

function decodeUsual(plaintext: Buffer): EnvelopeV1 | undefined {
  const position = { at: 0 };
  if (getVarint(plaintext, position) !== 10) return undefined;
  const length = getVarint(plaintext, position);
  if (length !== plaintext.length - position.at) return undefined;
  const envelope = emptyEnvelope();
  while (position.at < plaintext.length) {
    const tag = getVarint(plaintext, position);
    const isKnown =
      (tag & 7) === 0
        ? setNumber(envelope, tag, getVarint(plaintext, position))
        : setBytes(envelope, tag, plaintext, position);
    if (!isKnown) return undefined;
  }
  return position.at === plaintext.length ? envelope : undefined;
}

function emptyEnvelope(): EnvelopeV1 {
  return {
    sessionId: NOTHING,
    version: 0,
    digest: NOTHING,
    parentDigest: NOTHING,
    subject: "",
    client: "",
    audience: "",
    subjectEpoch: 0,
    familyId: NOTHING,
    issuedAt: 0n,
    idleExpiresAt: 0n,
    expiresAt: 0n,
    mode: 0,
    stateType: "",
    stateRevision: 0,
    confirmation: NOTHING,
    content: undefined,
    checkpointEvery: 0,
  };
}

/** @returns false for an unknown field or a number beyond its type */
function setNumber(envelope: EnvelopeV1, tag: number, value: number): boolean {
  switch (tag) {
    case 80:
      envelope.issuedAt = BigInt(value);
      return true;
    case 88:
      envelope.idleExpiresAt = BigInt(value);
      return true;
    case 96:
      envelope.expiresAt = BigInt(value);
      return true;
    case 16:
      envelope.version = value;
      break;
    case 64:
      envelope.subjectEpoch = value;
      break;
    case 104:
      envelope.mode = value;
      break;
    case 120:
      envelope.stateRevision = value;
      break;
    case 152:
      envelope.checkpointEvery = value;
      break;
    default:
      return false;
  }
  return value < 2 ** 32;
}

/** @returns false for an unknown field */
function setBytes(envelope: EnvelopeV1, tag: number, bytes: Buffer, position: Position): boolean {
  switch (tag) {
    case 10:
      envelope.sessionId = getBytes(bytes, position);
      return true;
    case 26:
      envelope.digest = getBytes(bytes, position);
      return true;
    case 34:
      envelope.parentDigest = getBytes(bytes, position);
      return true;
    case 42:
      envelope.subject = getText(bytes, position);
      return true;
    case 50:
      envelope.client = getText(bytes, position);
      return true;
    case 58:
      envelope.audience = getText(bytes, position);
      return true;
    case 74:
      envelope.familyId = getBytes(bytes, position);
      return true;
    case 114:
      envelope.stateType = getText(bytes, position);
      return true;
    case 130:
      envelope.confirmation = getBytes(bytes, position);
      return true;
    case 138:
      envelope.content = { $case: "state", value: getBytes(bytes, position) };
      return true;
    default:
      return false;
  }
}

/** Position after a varint that is cut off or too long. */
const TOO_LONG = Number.MAX_SAFE_INTEGER;

/** @returns 0, at the position TOO_LONG, if the varint is cut off or too long */
function getVarint(bytes: Buffer, position: Position): number {
  let value = 0;
  for (let factor = 1; factor < 2 ** 49; factor *= 128) {
    const byte = bytes[position.at];
    if (byte === undefined) break;
    position.at += 1;
    value += (byte & 127) * factor;
    if (byte < 128) return value;
  }
  position.at = TOO_LONG;
  return 0;
}

/** Beyond the end of the plaintext the result is cut off, and the position shows it. */
function getBytes(bytes: Buffer, position: Position): Buffer {
  const length = getVarint(bytes, position);
  const start = position.at;
  position.at += length;
  return bytes.subarray(start, position.at);
}

function getText(bytes: Buffer, position: Position): string {
  const length = getVarint(bytes, position);
  const start = position.at;
  position.at += length;
  return bytes.toString("utf8", start, position.at);
}
