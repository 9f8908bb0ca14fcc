import type { Wanted } from "#proto/waybill/token/v1/token.ts";
import { TokenErrors } from "../errors.ts";

/** Scopes and audiences: what may be had, or what is had. */
export interface Reach {
  readonly scopes: readonly string[];
  readonly audiences: readonly string[];
}

/**
 * What is granted: what was asked for, if it may be had, or all that may be had.
 *
 * @throws StatusError INVALID_SCOPE, naming what may not be had
 */
export function narrow(wanted: Wanted | undefined, most: Reach): Reach {
  const pick = (field: "scopes" | "audiences"): readonly string[] => {
    const asked = wanted?.[field] ?? [];
    if (asked.length === 0) return most[field];
    const refused = asked.filter((each) => !most[field].includes(each));
    if (refused.length === 0) return asked;
    throw TokenErrors.INVALID_SCOPE({ metadata: { [field]: refused.join(" ") } });
  };
  return { scopes: pick("scopes"), audiences: pick("audiences") };
}

/** What two may have both. */
export function common(a: Reach, b: Reach): Reach {
  return {
    scopes: a.scopes.filter((each) => b.scopes.includes(each)),
    audiences: a.audiences.filter((each) => b.audiences.includes(each)),
  };
}
