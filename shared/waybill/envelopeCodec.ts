import { Envelope, type EnvelopeV1 } from "../../proto/gen/waybill/envelope/v1/envelope.ts";

/**
 * The envelope of a waybill, in protobuf, written and read by hand: at every call that has a session
 * that takes a microsecond, where the generated code takes five and thirty objects. What is not as
 * usual (a spill, a text that is not ASCII, a field or version that this program does not know) is left
 * to the generated code.
 */

/** The tag and length of the message around the envelope. */
const HEAD = 6;
/** All tags, lengths and numbers, at their longest. */
const FIXED = 160;
const NOTHING = Buffer.alloc(0);
const MAX_SAFE = BigInt(Number.MAX_SAFE_INTEGER);

/** Larger envelopes are left to the generated code, too: this is kept. */
const scratch = Buffer.allocUnsafeSlow(72 * 1024);

/**
 * Encodes an envelope as a waybill's plaintext.
 *
 * @returns the bytes, in memory that the next call writes over
 */
export function encodeEnvelope(envelope: EnvelopeV1): Uint8Array {
  return (
    encodeUsual(envelope) ?? Envelope.encode({ version: { $case: "v1", value: envelope } }).finish()
  );
}

/**
 * Decodes a waybill's plaintext. What is bytes in the envelope lies within it.
 *
 * @returns undefined: it is of a version that this program does not know
 * @throws Error when it is no envelope
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
  // Of a oneof the branch that is set is written, also when it is empty.
  at = putVarint(putVarint(at, 138), content.value.length);
  scratch.set(content.value, at);
  at = putNumber(at + content.value.length, 152, envelope.checkpointEvery);
  // A text that is not ASCII.
  if (Number.isNaN(at)) return undefined;
  return withHead(at);
}

/** Puts tag and length in front of what was written. */
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

/** @returns NaN when it is not ASCII, and so is all that goes on from there */
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

/** The generated code refuses what is no number of 32 bits. */
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
  const envelope: EnvelopeV1 = {
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
  while (position.at < plaintext.length) {
    switch (getVarint(plaintext, position)) {
      case 10:
        envelope.sessionId = getBytes(plaintext, position);
        break;
      case 16:
        envelope.version = getUint32(plaintext, position);
        break;
      case 26:
        envelope.digest = getBytes(plaintext, position);
        break;
      case 34:
        envelope.parentDigest = getBytes(plaintext, position);
        break;
      case 42:
        envelope.subject = getText(plaintext, position);
        break;
      case 50:
        envelope.client = getText(plaintext, position);
        break;
      case 58:
        envelope.audience = getText(plaintext, position);
        break;
      case 64:
        envelope.subjectEpoch = getUint32(plaintext, position);
        break;
      case 74:
        envelope.familyId = getBytes(plaintext, position);
        break;
      case 80:
        envelope.issuedAt = BigInt(getVarint(plaintext, position));
        break;
      case 88:
        envelope.idleExpiresAt = BigInt(getVarint(plaintext, position));
        break;
      case 96:
        envelope.expiresAt = BigInt(getVarint(plaintext, position));
        break;
      case 104:
        envelope.mode = getUint32(plaintext, position);
        break;
      case 114:
        envelope.stateType = getText(plaintext, position);
        break;
      case 120:
        envelope.stateRevision = getUint32(plaintext, position);
        break;
      case 130:
        envelope.confirmation = getBytes(plaintext, position);
        break;
      case 138:
        envelope.content = { $case: "state", value: getBytes(plaintext, position) };
        break;
      case 152:
        envelope.checkpointEvery = getUint32(plaintext, position);
        break;
      default:
        return undefined;
    }
  }
  return position.at === plaintext.length ? envelope : undefined;
}

/** Longer than any number here that is written by a program of ours: then the whole is not as usual. */
const TOO_LONG = Number.MAX_SAFE_INTEGER;

/** @returns a number that is as large as can be when it is cut off or too long */
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

function getUint32(bytes: Buffer, position: Position): number {
  const value = getVarint(bytes, position);
  if (value < 2 ** 32) return value;
  position.at = TOO_LONG;
  return 0;
}

/** Beyond the end there is nothing: the position says that the whole is cut off. */
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
