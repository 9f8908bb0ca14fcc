import { InterceptingCall, type Interceptor, type StatusObject, status } from "@grpc/grpc-js";
import type { Contract } from "../contract/contract.ts";
import { readError } from "../errors.ts";
import { repeating } from "./repeating.ts";

/** In a call's options: it is retried already. */
const RETRIED = Symbol("retried");

const MAX_ATTEMPTS = 5;
const MIN_BACKOFF_MS = 20;
const MAX_BACKOFF_MS = 1000;

/**
 * Makes a call again when it failed on its way and its method may be repeated: on UNAVAILABLE, when
 * a replica was too busy to begin with it, when it met another call and was undone, and when a
 * connection broke in the middle of the answer.
 * gRPC itself does not retry that: to it, an answer that has begun has been given.
 *
 * Waits between attempts as long as the answer asks (RetryInfo), or else twice as long each time,
 * with jitter; never past the deadline. Of two such interceptors around a call the outer one does it.
 */
export function retrying(contract: Contract): Interceptor {
  return (given, nextCall) => {
    const { method_definition: definition } = given;
    const repeatable = contract.find(definition.path)?.repeatable ?? false;
    const isUnary = !definition.requestStream && !definition.responseStream;
    if (!repeatable || !isUnary || RETRIED in given) return new InterceptingCall(nextCall(given));
    const options = { ...given, [RETRIED]: true };
    return repeating(options, nextCall, (result, _sent, attempt) => {
      const afterMs = attempt < MAX_ATTEMPTS ? backoffMs(result, attempt) : undefined;
      return afterMs === undefined ? undefined : { afterMs };
    });
  };
}

/**
 * How long to wait before another attempt, when a call failed on its way; undefined when there is to be
 * none.
 */
export function backoffMs(result: StatusObject, attempt: number): number | undefined {
  const { code, domain, reason, retryAfterMs } = readError(result);
  // A service says why it fails. What fails without a reason failed on its way.
  const brokeOff = reason === "" && (code === status.INTERNAL || code === status.UNKNOWN);
  const wasUndone = domain === "waybill" && (reason === "OVERLOADED" || reason === "CONFLICT");
  if (code !== status.UNAVAILABLE && !brokeOff && !wasUndone) return undefined;
  const usualMs = Math.min(MIN_BACKOFF_MS * 2 ** (attempt - 1), MAX_BACKOFF_MS);
  return (retryAfterMs ?? usualMs) * (0.8 + Math.random() * 0.4);
}
