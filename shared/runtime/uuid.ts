const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

/** Random bytes that a UUIDv7 takes. */
export const UUID_RANDOM_BYTES = 10;

/**
 * A UUID of version 7 (RFC 9562 section 5.7) in its text form: the time first, so that rows that were
 * made one after another lie side by side.
 *
 * @param unixMs milliseconds since the Unix epoch
 * @param random 10 bytes
 */
export function uuidv7(unixMs: number, random: Uint8Array): string {
  const bytes = Buffer.alloc(16);
  bytes.writeUIntBE(unixMs, 0, 6);
  bytes.set(random, 6);
  bytes[6] = 0x70 | (bytes[6]! & 0x0f);
  bytes[8] = 0x80 | (bytes[8]! & 0x3f);
  return uuidFromBytes(bytes);
}

/** When a UUIDv7 was made: milliseconds since the Unix epoch. */
export function timeOf(uuid: string): number {
  return uuidToBytes(uuid).readUIntBE(0, 6);
}

/** The 16 bytes of a UUID in its text form (RFC 9562 section 4). Throws RangeError on other text. */
export function uuidToBytes(uuid: string): Buffer {
  if (!UUID.test(uuid)) throw new RangeError("not a UUID in lower case");
  return Buffer.from(uuid.replaceAll("-", ""), "hex");
}

/** The text form of 16 bytes. */
export function uuidFromBytes(bytes: Uint8Array): string {
  const hex = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("hex");
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}
