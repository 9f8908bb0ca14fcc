import { createHmac, timingSafeEqual } from "node:crypto";
import { uuidFromBytes, uuidToBytes } from "#shared/runtime/uuid.ts";
import type { SigningKey } from "../signingKeys/signingKeys.ts";

/** Where a refresh token stands in its family. */
export interface RefreshPosition {
  /** UUID. */
  readonly family: string;
  /** Counts from 1. */
  readonly generation: number;
  /** The key that it is derived with. */
  readonly keyId: string;
}

/** By it people and scanners know one that has got where it must not be. */
const PREFIX = "wbr_";
const HEAD_BYTES = 16 + 4 + 8;
const MAC_BYTES = 32;
const FORM = /^wbr_[A-Za-z0-9_-]{80}$/;

/**
 * The refresh token of a position: family, generation and key id, with an HMAC over them. It is
 * derived, so the same can be answered again, and nothing of it rests anywhere.
 */
export function deriveRefreshToken(position: RefreshPosition, key: SigningKey): string {
  const head = encodeHead(position);
  return `${PREFIX}${Buffer.concat([head, macOf(head, key)]).toString("base64url")}`;
}

/**
 * Reads a refresh token.
 *
 * @param keyOf finds a key by its id
 * @returns undefined when it is none of this system's
 */
export async function readRefreshToken(
  token: string,
  keyOf: (id: string) => Promise<SigningKey | undefined>,
): Promise<RefreshPosition | undefined> {
  if (!FORM.test(token)) return undefined;
  const bytes = Buffer.from(token.slice(PREFIX.length), "base64url");
  const head = bytes.subarray(0, HEAD_BYTES);
  const position = {
    family: uuidFromBytes(head.subarray(0, 16)),
    generation: head.readUInt32BE(16),
    keyId: head.subarray(20).toString("base64url"),
  };
  const key = await keyOf(position.keyId);
  if (key === undefined) return undefined;
  return timingSafeEqual(bytes.subarray(HEAD_BYTES), macOf(head, key)) ? position : undefined;
}

function encodeHead({ family, generation, keyId }: RefreshPosition): Buffer {
  const head = Buffer.alloc(HEAD_BYTES);
  head.set(uuidToBytes(family), 0);
  head.writeUInt32BE(generation, 16);
  head.write(keyId, 20, "base64url");
  return head;
}

function macOf(head: Buffer, { key }: SigningKey): Buffer {
  return createHmac("sha256", key).update("refresh\0").update(head).digest().subarray(0, MAC_BYTES);
}
