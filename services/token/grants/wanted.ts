import type { Wanted } from "#proto/waybill/token/v1/token.ts";
import { TokenErrors } from "../errors.ts";

/** Scopes and audiences of a token, or those that it may have. */
export interface Reach {
  readonly scopes: readonly string[];
  readonly audiences: readonly string[];
}

/**
 * Returns the requested scopes and audiences; by default all that are allowed.
 *
 * @throws StatusError INVALID_SCOPE, naming those that are not allowed
 */
export function narrow(wanted: Wanted | undefined, most: Reach): Reach {
  const pick = (field: "scopes" | "audiences"): readonly string[] => {
    const requested = wanted?.[field] ?? [];
    if (requested.length === 0) return most[field];
    const refused = requested.filter((each) => !most[field].includes(each));
    if (refused.length === 0) return requested;
    throw TokenErrors.INVALID_SCOPE({ metadata: { [field]: refused.join(" ") } });
  };
  return { scopes: pick("scopes"), audiences: pick("audiences") };
}

/** Returns the scopes and audiences that are in both. */
export function common(a: Reach, b: Reach): Reach {
  return {
    scopes: a.scopes.filter((each) => b.scopes.includes(each)),
    audiences: a.audiences.filter((each) => b.audiences.includes(each)),
  };
}
