import type { Context } from "waybill";
import type { CreateScopeRequest, Scope } from "#proto/waybill/identity/v1/identity.ts";
import { SCOPES } from "../grantables.ts";
import type { IdentityDependencies } from "../index.ts";
import { createResource } from "../resources.ts";

/** Creates a scope. */
export const createScope =
  (dependencies: IdentityDependencies) =>
  ({ scope, scopeId }: CreateScopeRequest, context: Context): Promise<Scope> =>
    createResource(dependencies, SCOPES, scopeId, scope!, context);
