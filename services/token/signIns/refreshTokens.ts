import { createHmac, timingSafeEqual } from "node:crypto";
import { uuidFromBytes, uuidToBytes } from "#shared/runtime/uuid.ts";
import type { SigningKey } from "../signingKeys/signingKeys.ts";

/** Position of a refresh token in its family. */
export interface RefreshPosition {
  /** UUID. */
  readonly family: string;
  /** Counts from 1. */
  readonly generation: number;
  /** Id of the key that derives the token. */
  readonly keyId: string;
}

/** Lets people and secret scanners recognize a leaked token. */
const PREFIX = "wbr_";
const HEAD_BYTES = 16 + 4 + 8;
const MAC_BYTES = 32;
const FORM = /^wbr_[A-Za-z0-9_-]{80}$/;

/**
 * Derives the refresh token of a position: family, generation and key id, with an HMAC over them. A
 * retry gets the same token, and nothing of it is stored.
 */
export function deriveRefreshToken(position: RefreshPosition, key: SigningKey): string {
  const head = encodeHead(position);
  return `${PREFIX}${Buffer.concat([head, macOf(head, key)]).toString("base64url")}`;
}

/**
 * Verifies a refresh token and returns its position.
 *
 * @param keyOf finds a key by its id
 * @returns undefined when the token is invalid
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
