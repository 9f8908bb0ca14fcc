import type { Context } from "waybill";
import type { Audience, GetAudienceRequest } from "#proto/waybill/identity/v1/identity.ts";
import { AUDIENCES } from "../grantables.ts";
import type { IdentityDependencies } from "../index.ts";
import { getResource } from "../resources.ts";

/** Reads an audience. */
export const getAudience =
  (dependencies: IdentityDependencies) =>
  ({ name }: GetAudienceRequest, context: Context): Promise<Audience> =>
    getResource(dependencies, AUDIENCES, name, context);
