import { randomBytes } from "node:crypto";
import type { RequestIdentity } from "../anchors/anchorStore.ts";
import { Errors } from "../errors.ts";
import { sha256 } from "../runtime/sha256.ts";
import { singleValue } from "../waybill/metadata.ts";
import type { SessionCall } from "./call.ts";

/** The metadata key, in requests. */
export const IDEMPOTENCY_KEY = "idempotency-key";

const KEY = /^[\x21-\x7e]{1,255}$/;

/**
 * Computes the identity of a request. The caller is part of it: another caller with the same waybill of an
 * anonymous session does not get this one's response.
 *
 * @param request encoded, without its waybill. Undefined: a stream of requests, which has an identity
 *   only with an idempotency key
 * @throws StatusError IDEMPOTENCY_KEY_INVALID, METADATA_DUPLICATED
 */
export function readRequestIdentity(
  { method, headers, caller }: Pick<SessionCall, "method" | "headers" | "caller">,
  request: Uint8Array | undefined,
): RequestIdentity {
  const key = singleValue(headers, IDEMPOTENCY_KEY);
  if (key !== undefined && !KEY.test(key)) throw Errors.IDEMPOTENCY_KEY_INVALID();
  const requestDigest = sha256(`${method}\0${nameOf(caller)}\0`, request ?? "");
  if (key !== undefined) return { requestDigest, idempotencyDigest: sha256(`key\0${key}`) };
  return { requestDigest, idempotencyDigest: request ? requestDigest : randomBytes(32) };
}

/** Identity that may open the saved response. */
function nameOf({ service = "", token }: SessionCall["caller"]): string {
  if (token === undefined) return service;
  const { subject, client, confirmation } = token;
  return [service, subject, client, confirmation?.thumbprint].join("\0");
}
