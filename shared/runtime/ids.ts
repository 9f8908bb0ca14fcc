import { Entropy } from "./entropy.ts";
import { UUID_RANDOM_BYTES, uuidv7 } from "./uuid.ts";

/** Ids are made with every call: drawn one by one, their randomness would be a tenth of its cost. */
const entropy = new Entropy(() => {});

/** A new UUIDv7. */
export function newUuid(): string {
  entropy.check();
  return uuidv7(Date.now(), entropy.take(UUID_RANDOM_BYTES));
}

/** A new key of 256 random bits. */
export function newKey(): Buffer {
  entropy.check();
  return Buffer.from(entropy.take(32));
}

/** A new id of 128 random bits: 22 characters of base64url. */
export function newRandomId(): string {
  entropy.check();
  return entropy.take(16).toString("base64url");
}
