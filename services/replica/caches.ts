import { ResponseCache } from "waybill";
import type { Config, Role } from "./config.ts";

/** The roles that keep answers. */
const KEEPERS: readonly Role[] = ["catalog", "checkout"];

/**
 * The cache of a role, which no other role shares: strangers who ask the catalog for much drive nothing out of
 * what checkout had from it. Together the roles served keep no more than the config allows.
 *
 * @returns undefined: the role keeps nothing
 */
export function cacheOf(
  { roles, cacheBytes }: Pick<Config, "roles" | "cacheBytes">,
  role: Role,
): ResponseCache | undefined {
  const keepers = KEEPERS.filter((each) => roles.includes(each));
  if (!keepers.includes(role)) return undefined;
  const maxBytes = Math.floor(cacheBytes / keepers.length);
  return maxBytes > 0 ? new ResponseCache({ maxBytes }) : undefined;
}
