/**
 * Decodes base64url without padding (RFC 4648 section 5), in its one canonical form.
 *
 * @returns the bytes, or undefined when the text has a foreign character, padding, or unused bits
 *   that are not zero. Node's own decoder passes over all of these, so that several texts would be
 *   the same token.
 */
export function decodeBase64url(text: string): Buffer | undefined {
  const bytes = Buffer.from(text, "base64url");
  return bytes.toString("base64url") === text ? bytes : undefined;
}

/**
 * Tells whether every part of a JWS or JWE in compact serialization is canonical base64url. `jose` decodes the other
 * forms, too, so that one token would have several texts, in caches and in hashes (`ath`).
 */
export function isCanonicalCompact(token: string): boolean {
  return token.split(".").every((part) => decodeBase64url(part) !== undefined);
}
