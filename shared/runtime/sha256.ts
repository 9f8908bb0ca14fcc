import { hash } from "node:crypto";

/**
 * Hashes the concatenation of bytes and strings with SHA-256. One call with a string result is four times as fast as
 * a hash object with a buffer result.
 *
 * @returns 32 bytes
 */
export function sha256(...parts: readonly (Uint8Array | string)[]): Buffer {
  const bytes = parts.map((part) => (typeof part === "string" ? Buffer.from(part) : part));
  const whole = bytes.length === 1 ? bytes[0]! : Buffer.concat(bytes);
  return Buffer.from(hash("sha256", whole, "latin1"), "latin1");
}
