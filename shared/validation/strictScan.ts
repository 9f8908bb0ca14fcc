import { isUtf8 } from "node:buffer";
import { Errors } from "../errors.ts";
import {
  DENSE_NUMBERS,
  FIXED32,
  FIXED64,
  GROUP_END,
  GROUP_START,
  LENGTH,
  VARINT,
  type WireField,
  type WireTable,
} from "./wireTable.ts";

/** Deepest nesting of messages, map entries and groups; the outermost message is the first. */
export const MAX_DEPTH = 100;
/** Most bytes of fields that the descriptor does not have, in all of a message. */
export const MAX_UNKNOWN_BYTES = 4096;
/** Most elements of lists and maps, in all of a message, whether rules look at them or not. */
export const MAX_ELEMENTS = 65_536;

/** Slots of a message that fit into a number. */
const SMALL_SLOTS = 31;
const SHORT_TEXT = 48;

// The scan is synchronous, so that one set of variables serves all: it allocates nothing.
let bytes: Uint8Array;
let at = 0;
let unknownBytes = 0;
let elements = 0;
let checked = 0;
let mostChecked = 0;
let mapKeysHoldAll = true;
/** Names of the fields from the outermost message to the one that is scanned. */
const trail: string[] = [];

/**
 * Reads an encoded message once, without making anything, and refuses it where two parsers could
 * read it differently: known fields in another wire type, a singular message or a oneof set twice,
 * field number 0, groups that do not match, text that is not UTF-8, varints that are too long or
 * outside of their type, tags in a longer form than needed, lengths beyond their parent, map entries
 * with a key or value twice, a Value without a kind, a Timestamp out of range. A scalar may come
 * twice: all parsers take the last. It also bounds depth, elements and unknown fields.
 *
 * @param most elements of lists and maps with a most of their own, in all of the message
 * @param holdsAllKeys whether the generated code holds the map key `__proto__`; else it is refused
 * @returns how many elements there are of lists and maps with a most of their own
 * @throws StatusError INVALID_FIELD naming the field
 * @see https://protobuf.dev/programming-guides/encoding/
 */
export function strictScan(
  table: WireTable,
  message: Uint8Array,
  most = MAX_ELEMENTS,
  holdsAllKeys = true,
): number {
  bytes = message;
  at = 0;
  unknownBytes = 0;
  elements = 0;
  checked = 0;
  mostChecked = most;
  mapKeysHoldAll = holdsAllKeys;
  try {
    scanMessage(table, message.length, 1);
    return checked;
  } finally {
    bytes = NOTHING;
  }
}

const NOTHING = new Uint8Array(0);

function scanMessage(table: WireTable, end: number, depth: number): void {
  if (depth > MAX_DEPTH) throw refusal(depth - 1, "", `is nested deeper than ${MAX_DEPTH} levels`);
  const { fields, others, slots } = table;
  let seen = 0;
  let seenMore: Uint8Array | undefined;
  let counts: Uint32Array | undefined;
  while (at < end) {
    const from = at;
    let tag = bytes[at++]!;
    if (tag > 127) {
      at = from;
      tag = readTag(end, depth);
    }
    const wire = tag & 7;
    const number = tag >>> 3;
    const field = number < DENSE_NUMBERS ? fields[number] : others.get(number);
    if (field === undefined) {
      if (number === 0) throw refusal(depth, "", "has a field with the number 0");
      skipUnknown(wire, number, end, depth);
      unknownBytes += at - from;
      if (unknownBytes > MAX_UNKNOWN_BYTES) {
        throw refusal(0, "", `has more than ${MAX_UNKNOWN_BYTES} bytes of unknown fields`);
      }
      continue;
    }
    const { slot } = field;
    if (slot !== 0) {
      let isTaken: boolean;
      if (slot <= SMALL_SLOTS) {
        const bit = 1 << (slot - 1);
        isTaken = (seen & bit) !== 0;
        seen |= bit;
      } else {
        seenMore ??= new Uint8Array(slots + 1);
        isTaken = seenMore[slot] !== 0;
        seenMore[slot] = 1;
      }
      if (isTaken) throw refusal(depth, field.name, "is set more than once");
    }
    if (field.counter >= 0) counts ??= new Uint32Array(table.counters);
    if (wire === field.wire) {
      if (field.isMany) count(field, 1, counts, depth);
      scanValue(field, end, depth);
    } else if (wire === LENGTH && field.packed >= 0) {
      count(field, scanPacked(field, end, depth), counts, depth);
    } else {
      throw refusal(depth, field.name, `has wire type ${wire} instead of ${field.wire}`);
    }
  }
  if (at !== end) throw refusal(depth, "", "is cut off");
  // Such tables have few slots.
  if (table.required !== 0 && (seen & (1 << (table.required - 1))) === 0) {
    throw refusal(depth, "", "has an entry or element without a value");
  }
}

function scanValue(field: WireField, end: number, depth: number): void {
  switch (field.wire) {
    case VARINT:
      scanVarint(field, end, depth);
      return;
    case FIXED64:
      at += 8;
      break;
    case FIXED32:
      at += 4;
      break;
    default: {
      const length = readLength(field.name, end, depth);
      if (field.child !== undefined) {
        trail[depth] = field.name;
        scanMessage(field.child, at + length, depth + 1);
      } else if (field.isText) scanText(field, length, depth);
      else at += length;
      return;
    }
  }
  if (at > end) throw refusal(depth, field.name, "is cut off");
}

/** @returns how many elements there are */
function scanPacked(field: WireField, end: number, depth: number): number {
  const length = readLength(field.name, end, depth);
  const stop = at + length;
  if (field.packed === VARINT) {
    let found = 0;
    for (; at < stop; found += 1) scanVarint(field, stop, depth);
    return found;
  }
  const size = field.packed === FIXED32 ? 4 : 8;
  if (length % size !== 0) throw refusal(depth, field.name, "is cut off");
  at = stop;
  return length / size;
}

function count(field: WireField, more: number, counts: Uint32Array | undefined, depth: number) {
  elements += more;
  if (elements > MAX_ELEMENTS) throw tooMany(field, MAX_ELEMENTS, depth);
  if (field.counter < 0) return;
  checked += more;
  if (checked > mostChecked) throw tooMany(field, mostChecked, depth);
  const found = counts![field.counter]! + more;
  counts![field.counter] = found;
  if (found > field.most) {
    throw refusal(depth, field.name, `has more than ${field.most} elements`);
  }
}

function tooMany({ name }: WireField, most: number, depth: number) {
  return refusal(depth, name, `has more than ${most} elements, with all before it`);
}

function scanText(field: WireField, length: number, depth: number): void {
  const end = at + length;
  let isAscii = length <= SHORT_TEXT;
  if (isAscii) {
    let bits = 0;
    for (let i = at; i < end; i += 1) bits |= bytes[i]!;
    isAscii = bits <= 127;
  }
  if (!isAscii && !isUtf8(bytes.subarray(at, end))) {
    throw refusal(depth, field.name, "is not valid UTF-8");
  }
  if (field.isMapKey && !mapKeysHoldAll && length === PROTO_KEY.length && isProtoKey()) {
    throw refusal(depth, "", "has the key `__proto__`, which this program cannot hold");
  }
  at = end;
}

const PROTO_KEY = Buffer.from("__proto__");

function isProtoKey(): boolean {
  return PROTO_KEY.equals(bytes.subarray(at, at + PROTO_KEY.length));
}

/** A tag: at most 32 bits, in its shortest form. */
function readTag(end: number, depth: number): number {
  const from = at;
  const tag = readVarint32(end, depth, "");
  if (at - from > 1 && bytes[at - 1] === 0) {
    throw refusal(depth, "", "has a tag that is longer than it needs to be");
  }
  return tag;
}

function readLength(name: string, end: number, depth: number): number {
  let length = bytes[at]!;
  if (at < end && length < 128) at += 1;
  else length = readVarint32(end, depth, name);
  if (length > end - at) throw refusal(depth, name, "is longer than what contains it");
  return length;
}

function readVarint32(end: number, depth: number, name: string): number {
  let value = 0;
  for (let i = 0; i < 5; i += 1) {
    if (at >= end) throw refusal(depth, name, "is cut off");
    const byte = bytes[at++]!;
    if (i === 4 && byte > 15) break;
    value |= (byte & 127) << (7 * i);
    if (byte < 128) return value >>> 0;
  }
  throw refusal(depth, name, "has a tag or length beyond 32 bits");
}

/** A value of at most ten bytes and 64 bits, in the range of its field. */
function scanVarint(field: WireField, end: number, depth: number): void {
  const from = at;
  skipVarint(field.name, end, depth);
  const { range } = field;
  if (range === "any") return;
  // The usual: one byte, which is in all ranges but that of bool.
  if (at - from === 1 && (range !== "bool" || bytes[from]! < 2)) return;
  if (!isInRange(range, from)) throw refusal(depth, field.name, `is outside of its type, ${range}`);
}

function skipVarint(name: string, end: number, depth: number): void {
  const from = at;
  for (;;) {
    if (at >= end) throw refusal(depth, name, "is cut off");
    const byte = bytes[at++]!;
    if (at - from === 10 && byte > 1) throw refusal(depth, name, "is a varint beyond 64 bits");
    if (byte < 128) return;
  }
}

/** Timestamps from year 1 to 9999 (google/protobuf/timestamp.proto). */
const MIN_SECONDS = -62_135_596_800n;
const MAX_SECONDS = 253_402_300_799n;

function isInRange(range: WireField["range"], from: number): boolean {
  let value = 0n;
  for (let i = at - 1; i >= from; i -= 1) value = (value << 7n) | BigInt(bytes[i]! & 127);
  const signed = BigInt.asIntN(64, value);
  switch (range) {
    case "bool":
      return value < 2n;
    case "uint32":
      return value < 2n ** 32n;
    case "int32":
      return BigInt.asIntN(32, signed) === signed;
    case "seconds":
      return signed >= MIN_SECONDS && signed <= MAX_SECONDS;
    case "nanos":
      return signed >= 0n && signed < 1_000_000_000n;
    default:
      return true;
  }
}

function skipUnknown(wire: number, number: number, end: number, depth: number): void {
  switch (wire) {
    case VARINT:
      skipVarint("", end, depth);
      return;
    case FIXED64:
      at += 8;
      break;
    case FIXED32:
      at += 4;
      break;
    case LENGTH: {
      const length = readLength("", end, depth);
      at += length;
      return;
    }
    case GROUP_START:
      skipGroup(number, end, depth + 1);
      return;
    case GROUP_END:
      throw refusal(depth, "", "has the end of a group that did not begin");
    default:
      throw refusal(depth, "", `has a field of wire type ${wire}`);
  }
  if (at > end) throw refusal(depth, "", "is cut off");
}

function skipGroup(number: number, end: number, depth: number): void {
  if (depth > MAX_DEPTH) throw refusal(depth - 1, "", `is nested deeper than ${MAX_DEPTH} levels`);
  trail[depth - 1] = `[${number}]`;
  for (;;) {
    if (at >= end) throw refusal(depth, "", "has a group without an end");
    const tag = readTag(end, depth);
    const inner = tag >>> 3;
    if (inner === 0) throw refusal(depth, "", "has a field with the number 0");
    if ((tag & 7) === GROUP_END) {
      if (inner !== number) throw refusal(depth, "", "has a group with the end of another");
      return;
    }
    skipUnknown(tag & 7, inner, end, depth);
  }
}

/** @param depth of the message that has the field @param name "": the message itself */
function refusal(depth: number, name: string, description: string) {
  const path = depth > 1 ? trail.slice(1, depth) : [];
  if (name !== "") path.push(name);
  return Errors.INVALID_FIELD({ violations: [{ field: path.join("."), description }] });
}
