import type { Context } from "waybill";
import type { Scope, UpdateScopeRequest } from "#proto/waybill/identity/v1/identity.ts";
import { SCOPES } from "../grantables.ts";
import type { IdentityDependencies } from "../index.ts";
import { updateResource } from "../resources.ts";

/** Changes a scope. */
export const updateScope =
  (dependencies: IdentityDependencies) =>
  ({ scope, updateMask }: UpdateScopeRequest, context: Context): Promise<Scope> =>
    updateResource(dependencies, SCOPES, scope!, updateMask, context);
