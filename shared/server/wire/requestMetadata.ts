import type { IncomingHttpHeaders } from "node:http2";
import { Step } from "../../../proto/gen/waybill/options/v1/options.ts";
import { CHANGE_KEY } from "../../cache/changeNumbers.ts";
import type { MethodContract } from "../../contract/contract.ts";
import { Errors, type StatusError } from "../../errors.ts";
import { IDEMPOTENCY_KEY } from "../../session/idempotency.ts";
import { SESSION_KEY, WAYBILL_KEY } from "../../waybill/carriers.ts";
import { METADATA_TEXT } from "../../waybill/metadata.ts";
import { FRONT_PROXY_KEY } from "../frontProxy.ts";

/** Most metadata keys of a request. */
export const MAX_METADATA_KEYS = 64;
/**
 * Most bytes of the metadata of a request, and of the metadata that a handler sets for its response: name, value
 * and 32 for each, as HTTP/2 counts them.
 */
export const MAX_METADATA_BYTES = 16 * 1024;
/** Bytes that HTTP/2 adds to each header field's size (RFC 9113 section 6.5.2). */
export const FIELD_OVERHEAD = 32;

/**
 * Header fields that are not the caller's metadata: they are the transport's, or the front proxy adds them.
 * Each counts for nothing once.
 */
const TRANSPORT: ReadonlySet<string> = new Set([
  "accept-encoding",
  "content-length",
  "content-type",
  "grpc-accept-encoding",
  "grpc-encoding",
  "grpc-timeout",
  "host",
  "te",
  "user-agent",
  FRONT_PROXY_KEY,
  "x-envoy-original-method",
  "x-envoy-original-path",
  "x-forwarded-client-cert",
  "x-forwarded-for",
  "x-forwarded-proto",
  "x-request-id",
]);

const AUTHORIZATION = "authorization";
const PROOF = "dpop";

/** Keys that are refused with a reason of their own when their value cannot be read. */
const REFUSALS: Readonly<Record<string, (cause: string) => StatusError>> = {
  [AUTHORIZATION]: (cause) => Errors.CREDENTIAL_INVALID({ cause }),
  [PROOF]: (cause) => Errors.CREDENTIAL_INVALID({ cause }),
  [WAYBILL_KEY]: (cause) => Errors.WAYBILL_INVALID({ cause }),
  [SESSION_KEY]: (cause) => Errors.SESSION_NOT_FOUND({ cause }),
  [IDEMPOTENCY_KEY]: (cause) => Errors.IDEMPOTENCY_KEY_INVALID({ cause }),
};

/** An empty credential is no credential. An empty waybill is none, and others have refusals of their own. */
const NEVER_EMPTY: ReadonlySet<string> = new Set([AUTHORIZATION, PROOF]);

/**
 * Names the metadata keys that the server acts on when a method is called. A value of one of these that
 * cannot be read refuses the call; a key that the method does not read is ignored, whatever its value.
 * Credentials are read by every method: a caller that sends one expects to be known.
 */
export function keysOf(method: MethodContract): readonly string[] {
  const { session, step, cache, idempotent } = method;
  const keys = [AUTHORIZATION, PROOF];
  if (session !== undefined) keys.push(WAYBILL_KEY);
  if (session !== undefined && session.mode !== "carried" && step !== Step.STEP_READ) {
    keys.push(IDEMPOTENCY_KEY);
    if (step === Step.STEP_ADVANCE && idempotent) keys.push(SESSION_KEY);
  }
  if (cache !== undefined) {
    keys.push("cache-control", CHANGE_KEY, "if-none-match");
    for (const key of cache.vary) if (!key.endsWith("-bin")) keys.push(key);
  }
  return keys;
}

/**
 * Checks a request's metadata before anything acts on them: their size, and that the values of the keys which
 * its method reads can be read. grpc-js and `node:http2` would drop such a value, or a second one, and the
 * call would go on as if the caller had sent none.
 *
 * A field whose value has a control character other than a tab does not get this far: nghttp2 drops it before
 * Node sees it. A proxy in front must refuse such requests, as Envoy does.
 *
 * @param fields names and values by turns, as they arrived
 * @param keys that the method reads
 * @returns the reason to refuse the call: METADATA_TOO_LARGE, METADATA_DUPLICATED, or that of the key
 */
export function metadataRefusal(
  headers: IncomingHttpHeaders,
  fields: readonly string[],
  keys: readonly string[],
): StatusError | undefined {
  let size = fields.length * (FIELD_OVERHEAD / 2);
  let credentials = 0;
  for (let index = 0; index < fields.length; index += 2) {
    const name = fields[index]!;
    size += name.length + fields[index + 1]!.length;
    if (name === AUTHORIZATION) credentials += 1;
  }
  if (size > MAX_METADATA_BYTES || fields.length > 2 * MAX_METADATA_KEYS) {
    const refusal = sizeRefusal(fields);
    if (refusal !== undefined) return refusal;
  }
  for (const key of keys) {
    const value = headers[key];
    if (value === undefined) continue;
    // Node keeps the first of several, which need not be the one that a proxy in front has checked.
    if (key === AUTHORIZATION && credentials > 1) {
      return Errors.METADATA_DUPLICATED({ metadata: { key } });
    }
    if (METADATA_TEXT.test(value as string) && !(value === "" && NEVER_EMPTY.has(key))) continue;
    const refuse = REFUSALS[key];
    if (refuse !== undefined) return refuse(`the value of ${key} cannot be read`);
    return Errors.METADATA_INVALID({ metadata: { key } });
  }
  return undefined;
}

/** Counts again, without the transport's own fields. */
function sizeRefusal(fields: readonly string[]): StatusError | undefined {
  const uncounted = new Set(TRANSPORT);
  let keys = 0;
  let bytes = 0;
  for (let index = 0; index < fields.length; index += 2) {
    const name = fields[index]!;
    if (name.startsWith(":") || uncounted.delete(name)) continue;
    keys += 1;
    bytes += name.length + fields[index + 1]!.length + FIELD_OVERHEAD;
  }
  if (keys > MAX_METADATA_KEYS) {
    return Errors.METADATA_TOO_LARGE({ metadata: { limit: `${MAX_METADATA_KEYS}`, unit: "keys" } });
  }
  if (bytes > MAX_METADATA_BYTES) {
    const metadata = { limit: `${MAX_METADATA_BYTES}`, unit: "bytes" };
    return Errors.METADATA_TOO_LARGE({ metadata });
  }
  return undefined;
}
