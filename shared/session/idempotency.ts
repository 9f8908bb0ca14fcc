import { randomBytes } from "node:crypto";
import type { RequestIdentity } from "../anchors/requestIdentity.ts";
import { Errors } from "../errors.ts";
import { sha256 } from "../runtime/sha256.ts";
import type { Call } from "../server/call.ts";
import { singleValue } from "../waybill/metadata.ts";

/** The metadata key, in requests. */
export const IDEMPOTENCY_KEY = "idempotency-key";

const KEY = /^[\x21-\x7e]{1,255}$/;

/**
 * What tells a call from others. Whoever makes it is part of it: another caller with the same waybill, of
 * nobody's session, is not answered what this one was.
 *
 * @param request encoded, without its waybill. Undefined: a stream of requests, which without a key
 *   nobody can tell from another one
 * @throws StatusError IDEMPOTENCY_KEY_INVALID, METADATA_DUPLICATED
 */
export function readRequestIdentity(
  { method, headers, caller }: Pick<Call, "method" | "headers" | "caller">,
  request: Uint8Array | undefined,
): RequestIdentity {
  const key = singleValue(headers, IDEMPOTENCY_KEY);
  if (key !== undefined && !KEY.test(key)) throw Errors.IDEMPOTENCY_KEY_INVALID();
  const requestDigest = sha256(`${method}\0${nameOf(caller)}\0`, request ?? "");
  if (key !== undefined) return { requestDigest, idempotencyDigest: sha256(`key\0${key}`) };
  return { requestDigest, idempotencyDigest: request ? requestDigest : randomBytes(32) };
}

/** Whoever may open what the caller is answered, and nobody else. */
function nameOf({ service = "", token }: Call["caller"]): string {
  if (token === undefined) return service;
  const { subject, client, confirmation } = token;
  return [service, subject, client, confirmation?.thumbprint].join("\0");
}
