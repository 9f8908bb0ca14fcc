import { MAX_SKEW_S } from "#shared/auth/tokens/accessTokens.ts";
import type { ReplicaDependencies } from "./replicaDependencies.ts";

/**
 * The longest that anything issued to a caller may live besides a refresh token, in seconds: so long
 * the feed remembers what revokes it.
 */
export function longestSessionS({
  contract,
  config,
}: Pick<ReplicaDependencies, "contract" | "config">): number {
  const sessions = contract.methods.map((method) => method.session?.absoluteS ?? 0);
  const { longestSessionS: outside, accessTokenLifeS } = config;
  return Math.max(outside, accessTokenLifeS, ...sessions) + 2 * MAX_SKEW_S;
}
