import { Entropy } from "./entropy.ts";
import { UUID_RANDOM_BYTES, uuidv7 } from "./uuid.ts";

/** Every call makes ids: reading their random bytes one by one would be a tenth of its cost. */
const entropy = new Entropy(() => {});

/** Makes a UUIDv7. */
export function newUuid(): string {
  entropy.check();
  return uuidv7(Date.now(), entropy.take(UUID_RANDOM_BYTES));
}

/** Makes a key of 256 random bits. */
export function newKey(): Buffer {
  entropy.check();
  return Buffer.from(entropy.take(32));
}

/** Makes an id of 128 random bits: 22 characters of base64url. */
export function newRandomId(): string {
  entropy.check();
  return entropy.take(16).toString("base64url");
}
