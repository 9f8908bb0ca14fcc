import type { Context } from "waybill";
import type { Audience, UpdateAudienceRequest } from "#proto/waybill/identity/v1/identity.ts";
import { AUDIENCES } from "../grantables.ts";
import type { IdentityDependencies } from "../index.ts";
import { updateResource } from "../resources.ts";

/** Changes an audience. */
export const updateAudience =
  (dependencies: IdentityDependencies) =>
  ({ audience, updateMask }: UpdateAudienceRequest, context: Context): Promise<Audience> =>
    updateResource(dependencies, AUDIENCES, audience!, updateMask, context);
