/**
 * Decodes base64url without padding (RFC 4648 section 5), in its one canonical form.
 *
 * @returns undefined when the text has another character, padding, or unused bits that are not zero. Node's decoder
 *   ignores these, so several texts would be the same token
 */
export function decodeBase64url(text: string): Buffer | undefined {
  const bytes = Buffer.from(text, "base64url");
  return bytes.toString("base64url") === text ? bytes : undefined;
}

/**
 * Returns whether every part of a compact JWS or JWE is canonical base64url. `jose` decodes other forms, too, so one
 * token would have several texts, in caches and in hashes (`ath`).
 */
export function isCanonicalCompact(token: string): boolean {
  return token.split(".").every((part) => decodeBase64url(part) !== undefined);
}
