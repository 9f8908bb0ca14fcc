import { createCipheriv, createDecipheriv, createHash, randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { copyOfKey, KEY_BYTES } from "../../rings/ring.ts";
import { decodeBase64url } from "../../runtime/base64url.ts";

const IV_BYTES = 12;
const TAG_BYTES = 16;

/** The row that a wrapped key is bound to: a row that is moved, swapped or changed in state is refused. */
export interface WrappedRow {
  readonly id: string;
  readonly audience: string;
  readonly state: string;
}

/** Wraps ring keys that are stored in Postgres, with AES-256-GCM under the key-encryption key. */
export interface Wrapping {
  /** Id of the key-encryption key that wraps: 11 characters of base64url. */
  readonly id: string;
  /** @param key 32 bytes */
  wrap(row: WrappedRow, key: Buffer): Buffer;
  /** @throws Error naming the row when it was changed, or wrapped with another key */
  unwrap(row: WrappedRow & { wrappingKeyId: string; wrapped: Buffer }): Buffer;
}

/**
 * Reads the key-encryption key, or two during its rotation: the first one wraps, both unwrap. Every replica must have
 * the new key before any replica wraps with it.
 *
 * @throws Error naming the file, the line and the rule: one or two lines, each with 32 bytes in base64url
 */
export function loadWrapping(file: string): Wrapping {
  const lines = readFileSync(file, "utf8")
    .replace(/\r?\n$/, "")
    .split(/\r?\n/);
  if (lines.length > 2) {
    throw new Error(`${file}: expected one line or two, not ${lines.length}`);
  }
  const keys = lines.map((line, index) => {
    const key = decodeBase64url(line);
    if (key?.length === KEY_BYTES) return key;
    throw new Error(`${file}: line ${index + 1} must be ${KEY_BYTES} bytes in base64url`);
  });
  try {
    return wrapping(...(keys as [Buffer, ...Buffer[]]));
  } catch (error) {
    throw new Error(`${file}: ${(error as Error).message}`);
  }
}

/**
 * Makes a wrapping from key-encryption keys.
 *
 * @param given the key that wraps, then keys that only unwrap: each 32 bytes
 * @throws Error naming the key, by its index, and the rule that it breaks
 */
export function wrapping(...given: [Buffer, ...Buffer[]]): Wrapping {
  const keys = given.map((key, index) => copyOfKey(key, `key-encryption key ${index + 1}`));
  const known = new Map(keys.map((key) => [idOf(key), key]));
  // A rotation to the same key would seem complete, and leave a leaked key in use.
  if (known.size < keys.length) throw new Error("a key-encryption key is given twice");
  const newest = keys[0]!;
  const id = idOf(newest);
  return {
    id,
    wrap(row, key) {
      const iv = randomBytes(IV_BYTES);
      const cipher = createCipheriv("aes-256-gcm", newest, iv).setAAD(aad(row));
      return Buffer.concat([iv, cipher.update(key), cipher.final(), cipher.getAuthTag()]);
    },
    unwrap(row) {
      const { wrapped } = row;
      const wrappingKey = known.get(row.wrappingKeyId);
      if (wrappingKey === undefined) {
        const ids = [...known.keys()].join(" and ");
        throw new Error(
          `ring key ${row.id} is wrapped with the key-encryption key ${row.wrappingKeyId}, which is not ${ids}`,
        );
      }
      try {
        const iv = wrapped.subarray(0, IV_BYTES);
        const decipher = createDecipheriv("aes-256-gcm", wrappingKey, iv)
          .setAAD(aad(row))
          .setAuthTag(wrapped.subarray(-TAG_BYTES));
        const sealed = wrapped.subarray(IV_BYTES, -TAG_BYTES);
        return Buffer.concat([decipher.update(sealed), decipher.final()]);
      } catch (cause) {
        throw new Error(`the row of ring key ${row.id} was changed in the table`, { cause });
      }
    },
  };
}

function idOf(keyEncryptionKey: Buffer): string {
  return createHash("sha256").update(keyEncryptionKey).digest("base64url").slice(0, 11);
}

function aad({ id, audience, state }: WrappedRow): Buffer {
  return Buffer.from(`${id}\0${audience}\0${state}`);
}
