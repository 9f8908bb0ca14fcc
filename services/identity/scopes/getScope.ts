import type { Context } from "waybill";
import type { GetScopeRequest, Scope } from "#proto/waybill/identity/v1/identity.ts";
import { SCOPES } from "../grantables.ts";
import type { IdentityDependencies } from "../index.ts";
import { getResource } from "../resources.ts";

/** Reads a scope. */
export const getScope =
  (dependencies: IdentityDependencies) =>
  ({ name }: GetScopeRequest, context: Context): Promise<Scope> =>
    getResource(dependencies, SCOPES, name, context);
