import { createCipheriv, createDecipheriv, type KeyObject } from "node:crypto";
import { decodeBase64url } from "../runtime/base64url.ts";
import { parseSubkeyId, type TokenType } from "./subkey.ts";

export const IV_BYTES = 12;
export const TAG_BYTES = 16;
/** The same in base64url. */
const IV_CHARS = 16;
const TAG_CHARS = 22;

/** The parts of a JWE (RFC 7516 section 7.1) with `alg: dir`, so without an encrypted key. */
export interface Sealed {
  /** The protected header as it stands in the token: base64url text, the authenticated data. */
  header: string;
  iv: Buffer;
  ciphertext: Buffer;
  tag: Buffer;
}

/** A key and the protected header of all that is sealed under it, in both its forms. */
export interface HeaderKey {
  readonly key: KeyObject;
  readonly header: string;
  /** The header as the cipher takes it: made once a key, not once a token. */
  readonly authenticated: Buffer;
}

export function headerKey(key: KeyObject, header: string): HeaderKey {
  return { key, header, authenticated: Buffer.from(header, "latin1") };
}

/** The protected header of a token, in base64url. */
export function encodeHeader(type: TokenType, kid: string): string {
  const header = { alg: "dir", enc: "A256GCM", typ: type, kid };
  return Buffer.from(JSON.stringify(header)).toString("base64url");
}

/**
 * Checks a protected header: `dir`, `A256GCM`, the type that was asked for, a `kid`, and not a
 * parameter more (so no `crit`, `zip`, `jku`, `jwk`; RFC 8725 sections 3.1, 3.6, 3.10, 3.11).
 *
 * @returns the ring key's id and the salt, or undefined when anything is amiss
 */
export function parseHeader(
  header: string,
  type: TokenType,
): { ringKeyId: string; salt: Buffer } | undefined {
  const json = decodeBase64url(header);
  if (json === undefined) return undefined;
  let fields: unknown;
  try {
    fields = JSON.parse(json.toString("utf8"));
  } catch {
    return undefined;
  }
  if (typeof fields !== "object" || fields === null) return undefined;
  const { alg, enc, typ, kid, ...rest } = fields as Record<string, unknown>;
  if (alg !== "dir" || enc !== "A256GCM" || typ !== type) return undefined;
  if (Object.keys(rest).length > 0) return undefined;
  return parseSubkeyId(kid);
}

/** Encrypts and authenticates. The pair of key and `iv` must never be used twice. */
export function encrypt(
  { key, header, authenticated }: HeaderKey,
  iv: Buffer,
  plaintext: Uint8Array,
): Sealed {
  const cipher = createCipheriv("aes-256-gcm", key, iv);
  cipher.setAAD(authenticated);
  const ciphertext = cipher.update(plaintext);
  cipher.final();
  return { header, iv, ciphertext, tag: cipher.getAuthTag() };
}

/**
 * Authenticates and decrypts a ciphertext sealed under a key and its header. Returns undefined if the tag
 * does not verify.
 */
export function decrypt({ key, authenticated }: HeaderKey, sealed: Sealed): Buffer | undefined {
  const decipher = createDecipheriv("aes-256-gcm", key, sealed.iv);
  decipher.setAAD(authenticated);
  decipher.setAuthTag(sealed.tag);
  const plaintext = decipher.update(sealed.ciphertext);
  try {
    decipher.final();
  } catch {
    return undefined;
  }
  return plaintext;
}

/** The compact serialization. */
export function toCompact(sealed: Sealed): string {
  const { header, iv, ciphertext, tag } = sealed;
  return `${header}..${iv.toString("base64url")}.${ciphertext.toString("base64url")}.${tag.toString("base64url")}`;
}

/** The parts of a compact serialization, or undefined when it is not one. */
export function fromCompact(token: string): Sealed | undefined {
  const headerEnd = token.indexOf(".");
  // The encrypted key between the first two dots is empty.
  const ivEnd = headerEnd + 2 + IV_CHARS;
  const ciphertextEnd = token.length - 1 - TAG_CHARS;
  if (headerEnd < 1 || token[headerEnd + 1] !== "." || ivEnd >= ciphertextEnd) return undefined;
  if (token[ivEnd] !== "." || token[ciphertextEnd] !== ".") return undefined;
  // A dot more, within a part, is no character of base64url.
  const iv = decodeBase64url(token.slice(headerEnd + 2, ivEnd));
  const ciphertext = decodeBase64url(token.slice(ivEnd + 1, ciphertextEnd));
  const tag = decodeBase64url(token.slice(ciphertextEnd + 1));
  if (iv === undefined || ciphertext === undefined || tag === undefined) return undefined;
  return { header: token.slice(0, headerEnd), iv, ciphertext, tag };
}
