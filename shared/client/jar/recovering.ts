import { randomUUID } from "node:crypto";
import { InterceptingCall, type Interceptor, type StatusObject } from "@grpc/grpc-js";
import type { Contract, MethodContract } from "../../contract/contract.ts";
import { readError } from "../../errors.ts";
import { IDEMPOTENCY_KEY } from "../../session/idempotency.ts";
import { SESSION_KEY, WAYBILL_KEY } from "../../waybill/carriers.ts";
import { type Again, repeating } from "../repeating.ts";

const MAX_ATTEMPTS = 4;

/** What the jar knows of the calls' session. */
export interface Known {
  /** The newest waybill of an audience. */
  newest(audience: string): string | undefined;
  isSignedIn(): boolean;
}

/**
 * Gives each call that advances an anchored session an idempotency key, which all its attempts share,
 * and goes on where its waybill turns out to be stale: from a newer one that the jar has got
 * meanwhile, or, for a method that its proto declares IDEMPOTENT and a caller who is signed in, from
 * where the session stands.
 */
export function recovering(contract: Contract, known: Known): Interceptor {
  return (options, nextCall) => {
    const method = contract.find(options.method_definition.path);
    if (!method?.advancesAnchor || method.kind !== "unary")
      return new InterceptingCall(nextCall(options));
    return repeating(
      options,
      nextCall,
      (result, sent, attempt): Again | undefined => {
        const plan = attempt < MAX_ATTEMPTS ? whenStale(method, result) : undefined;
        if (plan === undefined) return undefined;
        const metadata = sent.clone();
        const newest = known.newest(method.session!.audience);
        const isNewer = newest !== undefined && newest !== sent.get(WAYBILL_KEY)[0];
        metadata.remove(SESSION_KEY);
        if (isNewer && plan.mayGoOn) return { afterMs: 0, metadata };
        if (!plan.mayResume || !known.isSignedIn()) return undefined;
        metadata.set(SESSION_KEY, plan.session);
        return { afterMs: 0, metadata };
      },
      (metadata) => {
        if (metadata.get(IDEMPOTENCY_KEY).length === 0) metadata.set(IDEMPOTENCY_KEY, randomUUID());
      },
    );
  };
}

/** What may be done about a stale waybill; undefined when it is not what the call failed for. */
function whenStale(
  method: MethodContract,
  result: StatusObject,
): { mayGoOn: boolean; mayResume: boolean; session: string } | undefined {
  const { domain, reason, metadata } = readError(result);
  if (domain !== "waybill" || reason !== "WAYBILL_STALE") return undefined;
  // An earlier attempt may have been served, and its answer be gone since: then this is the second.
  const wasServed = metadata["served"] !== "false";
  const session = metadata["session"] ?? "";
  return {
    mayGoOn: !wasServed || method.idempotent,
    mayResume: method.idempotent && session !== "",
    session,
  };
}
