const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

/** Number of random bytes in a UUIDv7. */
export const UUID_RANDOM_BYTES = 10;

/**
 * Makes a UUIDv7 (RFC 9562 section 5.7) in text form. It begins with the time, so that consecutive rows are adjacent
 * in an index.
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

/** Returns the time of a UUIDv7, in milliseconds since the Unix epoch. */
export function timeOf(uuid: string): number {
  return uuidToBytes(uuid).readUIntBE(0, 6);
}

/** Returns the 16 bytes of a UUID in text form (RFC 9562 section 4). @throws RangeError on other text */
export function uuidToBytes(uuid: string): Buffer {
  if (!UUID.test(uuid)) throw new RangeError("not a UUID in lower case");
  return Buffer.from(uuid.replaceAll("-", ""), "hex");
}

/** Returns the text form of 16 bytes. */
export function uuidFromBytes(bytes: Uint8Array): string {
  const hex = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("hex");
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}
