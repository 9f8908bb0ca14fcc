import { type InterceptorOptions, type Metadata, type StatusObject, status } from "@grpc/grpc-js";
import type { MethodContract } from "../contract/contract.ts";
import { readError } from "../errors.ts";
import { WAYBILL_KEY } from "../waybill/carriers.ts";

/** Most attempts at a call; of a stream, since its last message. */
export const MAX_ATTEMPTS = 5;
const MIN_BACKOFF_MS = 20;
const MAX_BACKOFF_MS = 1000;
/** grpc-js's words for a stream that ended before its status, with any code of RFC 9113 section 7. */
const BROKEN_STREAM = /^Received RST_STREAM with code \d+/;

/** Which of its credentials the jar adds anew to an attempt. The others are sent as before. */
export interface Attempt {
  readonly freshWaybill: boolean;
  readonly freshToken: boolean;
}

/** Both added anew: as for a first attempt. */
export const FRESH: Attempt = { freshWaybill: true, freshToken: true };

/** A call's options. `attempt` is there inside the interceptor that retries the call. */
export type AttemptOptions = InterceptorOptions & { readonly attempt?: Attempt };

/** The part of a jar that decides whether a call can be retried. */
export interface JarState {
  newestWaybill(audience: string): string | undefined;
  isSignedIn(): boolean;
  /** Replaces an access token that the service refused. Rejects when there is no other one. */
  renewToken(refused: string): Promise<void>;
}

/** A further attempt at a failed call, and its changes. */
export interface Retry extends Partial<Attempt> {
  readonly afterMs: number;
  /** The service refused the access token: a new one is needed first. */
  readonly renewsToken?: boolean;
  /** The session to name instead of sending its waybill. Empty: no session is named. */
  readonly session?: string;
}

/** An attempt that ended. */
export interface Ended {
  readonly result: StatusObject;
  /** The metadata that were sent, with everything that the jar added. */
  readonly sent: Metadata;
  /** From 1. */
  readonly number: number;
  readonly hasRenewedToken: boolean;
  /** The last message of a stream brought a waybill, or there was no message. */
  readonly isResumable: boolean;
}

/** Decides whether a call is retried: after which wait, and with which changes. */
export function planRetry(method: MethodContract, ended: Ended, jar?: JarState): Retry | undefined {
  const { result, number } = ended;
  if (result.code === status.OK || number >= MAX_ATTEMPTS) return undefined;
  if (method.kind !== "unary") return planReopening(method, ended);
  const planned = jar && (planTokenRenewal(ended, jar) ?? planAdvance(method, ended, jar));
  if (planned !== undefined || !method.repeatable) return planned;
  const afterMs = backoffMs(result, number);
  return afterMs === undefined ? undefined : { afterMs };
}

/** A stream of responses whose every message came with a waybill misses nothing and repeats nothing. */
function planReopening(
  { kind, responseCarrier }: MethodContract,
  { result, number, isResumable }: Ended,
): Retry | undefined {
  if (kind !== "server_streaming" || responseCarrier === undefined || !isResumable) {
    return undefined;
  }
  // The rest of the stream may have run on another replica first: its responses are saved.
  const { reason, metadata } = readError(result);
  const wasServed = reason === "WAYBILL_STALE" && metadata["served"] === "true";
  const afterMs = wasServed ? 0 : backoffMs(result, number);
  return afterMs === undefined ? undefined : { afterMs, ...FRESH };
}

/** The service refuses a token before it begins with the call. */
function planTokenRenewal(
  { result, sent, hasRenewedToken }: Ended,
  jar: JarState,
): Retry | undefined {
  if (result.code !== status.UNAUTHENTICATED || hasRenewedToken) return undefined;
  if (readError(result).reason !== "CREDENTIAL_INVALID") return undefined;
  if (!jar.isSignedIn() || sent.get("authorization").length === 0) return undefined;
  return { afterMs: 0, freshToken: true, renewsToken: true };
}

/**
 * Where the waybill was stale: advances from a newer waybill that the jar received meanwhile, or, for a
 * method that its proto declares IDEMPOTENT and a signed-in caller, from the session's current version.
 */
function planAdvance(
  method: MethodContract,
  { result, sent }: Ended,
  jar: JarState,
): Retry | undefined {
  const { domain, reason, metadata } = readError(result);
  const { session, advancesAnchor, idempotent } = method;
  if (domain !== "waybill" || reason !== "WAYBILL_STALE") return undefined;
  if (session === undefined || !advancesAnchor) return undefined;
  const newest = jar.newestWaybill(session.audience);
  const isNewer = newest !== undefined && newest !== sent.get(WAYBILL_KEY)[0];
  // An earlier attempt may have been served, and its saved response deleted: this would be the second.
  const mayAdvance = metadata["served"] === "false" || idempotent;
  if (isNewer && mayAdvance) return { afterMs: 0, ...FRESH, session: "" };
  const name = metadata["session"] ?? "";
  if (!idempotent || name === "" || !jar.isSignedIn()) return undefined;
  return { afterMs: 0, ...FRESH, session: name };
}

/**
 * How long to wait before another attempt at a call that is safe to repeat, in ms. Undefined: its
 * failure is final.
 */
export function backoffMs(
  result: Pick<StatusObject, "code" | "details" | "metadata">,
  attempt: number,
): number | undefined {
  const { domain, reason, retryAfterMs } = readError(result);
  const wasUndone = domain === "waybill" && (reason === "OVERLOADED" || reason === "CONFLICT");
  if (result.code !== status.UNAVAILABLE && !wasUndone && !isBroken(result)) return undefined;
  const usualMs = Math.min(MIN_BACKOFF_MS * 2 ** (attempt - 1), MAX_BACKOFF_MS);
  return (retryAfterMs ?? usualMs) * (0.8 + Math.random() * 0.4);
}

/**
 * Returns whether the connection broke before the status arrived. grpc-js reports that in the details
 * alone, without metadata. A status from the service or an HTTP error would be the same on a retry.
 */
function isBroken({
  code,
  details,
  metadata,
}: Pick<StatusObject, "code" | "details" | "metadata">): boolean {
  if (code !== status.INTERNAL && code !== status.UNKNOWN) return false;
  return BROKEN_STREAM.test(details) && Object.keys(metadata.getMap()).length === 0;
}
