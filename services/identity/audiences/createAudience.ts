import type { Context } from "waybill";
import type { Audience, CreateAudienceRequest } from "#proto/waybill/identity/v1/identity.ts";
import { AUDIENCES } from "../grantables.ts";
import type { IdentityDependencies } from "../index.ts";
import { createResource } from "../resources.ts";

/** Creates an audience. */
export const createAudience =
  (dependencies: IdentityDependencies) =>
  ({ audience, audienceId }: CreateAudienceRequest, context: Context): Promise<Audience> =>
    createResource(dependencies, AUDIENCES, audienceId, audience!, context);
