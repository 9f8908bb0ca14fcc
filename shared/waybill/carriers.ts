import type { Waybill } from "../../proto/gen/waybill/options/v1/options.ts";
import { Errors, type StatusError } from "../errors.ts";
import { fromCompact, IV_BYTES, type Sealed, TAG_BYTES, toCompact } from "./jwe.ts";
import { type MetadataReader, singleValue } from "./metadata.ts";

/** The metadata key, in requests and in responses. */
export const WAYBILL_KEY = "waybill";
/**
 * The metadata key by which the owner of an anchored session names it, as `sessions/{uuid}`, to go on
 * from where it stands, in place of its waybill.
 */
export const SESSION_KEY = "session";
/** Longest waybill in metadata, in characters. */
export const MAX_METADATA_WAYBILL = 4096;
/** Largest sealed envelope in a message field, in bytes. */
export const MAX_MESSAGE_WAYBILL = 64 * 1024;

/** The way a waybill came, and so the way its successor goes. */
export type Carrier = "metadata" | "message";

/** A waybill as it arrived. */
export interface Arrival {
  /** Undefined when there was none. */
  readonly sealed: Sealed | undefined;
  readonly carrier: Carrier;
}

/**
 * Takes the waybill from a request: from its carrier field, where it has one that is set, and
 * otherwise from the metadata. Nothing is decrypted here.
 *
 * @throws StatusError METADATA_DUPLICATED, WAYBILL_TOO_LARGE, WAYBILL_INVALID (it has not the form of
 *   one)
 */
export function receive(metadata: MetadataReader, field: Waybill | undefined): Arrival {
  const text = singleValue(metadata, WAYBILL_KEY);
  if (field !== undefined) {
    if (text !== undefined) throw Errors.METADATA_DUPLICATED({ metadata: { key: WAYBILL_KEY } });
    return { sealed: fromField(field), carrier: "message" };
  }
  if (text === undefined || text === "") return { sealed: undefined, carrier: "metadata" };
  if (text.length > MAX_METADATA_WAYBILL) {
    throw Errors.WAYBILL_TOO_LARGE({
      metadata: { limit: `${MAX_METADATA_WAYBILL}` },
    });
  }
  const sealed = fromCompact(text);
  if (sealed === undefined) throw Errors.WAYBILL_INVALID({ cause: "it has not the form of a JWE" });
  return { sealed, carrier: "metadata" };
}

/** @throws StatusError WAYBILL_TOO_LARGE when the state is too large for this carrier */
export function toMetadataValue(sealed: Sealed): string {
  const text = toCompact(sealed);
  if (text.length > MAX_METADATA_WAYBILL) throw tooLarge(text.length);
  return text;
}

/** @param size of a waybill that is too large for the metadata, in characters */
export function tooLarge(size: number): StatusError {
  return Errors.WAYBILL_TOO_LARGE({
    metadata: { limit: `${MAX_METADATA_WAYBILL}`, size: `${size}` },
  });
}

/** @throws StatusError WAYBILL_TOO_LARGE when the state is too large for this carrier */
export function toField(sealed: Sealed): Waybill {
  if (sealed.ciphertext.length > MAX_MESSAGE_WAYBILL) {
    throw Errors.WAYBILL_TOO_LARGE({
      metadata: {
        limit: `${MAX_MESSAGE_WAYBILL}`,
        size: `${sealed.ciphertext.length}`,
      },
    });
  }
  return {
    protected: Buffer.from(sealed.header, "base64url"),
    iv: sealed.iv,
    ciphertext: sealed.ciphertext,
    tag: sealed.tag,
  };
}

/**
 * The waybill of a message that was answered, for the metadata of the next call. Undefined: there is
 * none in it.
 */
export function fieldToMetadataValue(field: Waybill | undefined): string | undefined {
  const sealed = field && fromField(field);
  return sealed && toCompact(sealed);
}

function fromField(field: Waybill): Sealed | undefined {
  const { protected: header, iv, ciphertext, tag } = field;
  if (header.length + iv.length + ciphertext.length + tag.length === 0) return undefined;
  if (ciphertext.length > MAX_MESSAGE_WAYBILL) {
    throw Errors.WAYBILL_TOO_LARGE({
      metadata: { limit: `${MAX_MESSAGE_WAYBILL}` },
    });
  }
  if (iv.length !== IV_BYTES || tag.length !== TAG_BYTES || header.length > 512) {
    throw Errors.WAYBILL_INVALID({
      cause: "its parts have not the size of a JWE's",
    });
  }
  return { header: header.toString("base64url"), iv, ciphertext, tag };
}
