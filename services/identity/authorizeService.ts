import type { Context } from "#shared/contract/handlers.ts";
import { Errors } from "#shared/errors.ts";

/** What accounts prove themselves with is the token service's to know, and nobody else's. */
export function onlyToken({ caller, method }: Context): void {
  if (caller.service !== "token") throw Errors.ACCESS_DENIED({ metadata: { method } });
}
