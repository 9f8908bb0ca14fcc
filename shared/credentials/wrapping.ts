import { createCipheriv, createDecipheriv, createHash, randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";

const IV_BYTES = 12;
const TAG_BYTES = 16;

/** What a wrapped key is bound to: a row that is moved, swapped or given another state is refused. */
export interface WrappedRow {
  readonly id: string;
  readonly audience: string;
  readonly state: string;
}

/** Wraps ring keys for their rest in Postgres, with AES-256-GCM under the key-encryption key. */
export interface Wrapping {
  /** Which key-encryption key this is: 11 characters of base64url. */
  readonly id: string;
  /** @param key 32 bytes */
  wrap(row: WrappedRow, key: Buffer): Buffer;
  /** @throws Error naming the row when it was changed, or wrapped with another key */
  unwrap(row: WrappedRow & { wrappingKeyId: string; wrapped: Buffer }): Buffer;
}

/** @throws Error when the file has not 32 bytes of base64url on one line */
export function loadWrapping(file: string): Wrapping {
  const key = Buffer.from(readFileSync(file, "utf8").trim(), "base64url");
  if (key.length !== 32) throw new Error(`${file}: expected 32 bytes in base64url`);
  return wrapping(key);
}

export function wrapping(keyEncryptionKey: Buffer): Wrapping {
  const id = createHash("sha256").update(keyEncryptionKey).digest("base64url").slice(0, 11);
  return {
    id,
    wrap(row, key) {
      const iv = randomBytes(IV_BYTES);
      const cipher = createCipheriv("aes-256-gcm", keyEncryptionKey, iv).setAAD(aad(row));
      return Buffer.concat([iv, cipher.update(key), cipher.final(), cipher.getAuthTag()]);
    },
    unwrap(row) {
      const { wrapped } = row;
      if (row.wrappingKeyId !== id) {
        throw new Error(`key ${row.id} is wrapped with ${row.wrappingKeyId}, and this is ${id}`);
      }
      try {
        const iv = wrapped.subarray(0, IV_BYTES);
        const decipher = createDecipheriv("aes-256-gcm", keyEncryptionKey, iv)
          .setAAD(aad(row))
          .setAuthTag(wrapped.subarray(-TAG_BYTES));
        const sealed = wrapped.subarray(IV_BYTES, -TAG_BYTES);
        return Buffer.concat([decipher.update(sealed), decipher.final()]);
      } catch (cause) {
        throw new Error(`the row of key ${row.id} was changed in the table`, { cause });
      }
    },
  };
}

function aad({ id, audience, state }: WrappedRow): Buffer {
  return Buffer.from(`${id}\0${audience}\0${state}`);
}
