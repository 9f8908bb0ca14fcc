import { createSecretKey, hkdfSync, type KeyObject } from "node:crypto";

/** The kind of token that a key is for: the JWE header `typ` (RFC 8725 section 3.11). */
export type TokenType = "waybill" | "cursor" | "answer";

export const SALT_BYTES = 16;

const KID = /^([A-Za-z0-9_-]{11})\.([A-Za-z0-9_-]{22})$/;

/**
 * The key that one process seals with: HKDF-SHA-256 (RFC 5869) over the ring key, with a random salt
 * and, as info, the token type and the audience. So a token of one type or audience never opens as
 * another, and processes never share a nonce space.
 *
 * @param ringKey 32 bytes
 * @param salt 16 bytes
 */
export function deriveSubkey(
  ringKey: Uint8Array,
  salt: Buffer,
  type: TokenType,
  audience: string,
): KeyObject {
  const info = Buffer.from(`${type}\0${audience}`);
  return createSecretKey(Buffer.from(hkdfSync("sha256", ringKey, salt, info, 32)));
}

/** The `kid` of a sub-key: the ring key's id, a dot, the salt in base64url. */
export function subkeyId(ringKeyId: string, salt: Buffer): string {
  return `${ringKeyId}.${salt.toString("base64url")}`;
}

/** The parts of a `kid`, or undefined when it is not of that form. */
export function parseSubkeyId(kid: unknown): { ringKeyId: string; salt: Buffer } | undefined {
  const match = typeof kid === "string" ? KID.exec(kid) : null;
  if (match === null) return undefined;
  return { ringKeyId: match[1]!, salt: Buffer.from(match[2]!, "base64url") };
}
