import type { Context } from "waybill";
import type { Issuer, UpdateIssuerRequest } from "#proto/waybill/identity/v1/identity.ts";
import type { IdentityDependencies } from "../index.ts";
import { updateResource } from "../resources.ts";
import { checkIssuer, ISSUERS } from "./issuer.ts";

/** Changes a trusted issuer. */
export const updateIssuer =
  (dependencies: IdentityDependencies) =>
  async ({ issuer, updateMask }: UpdateIssuerRequest, context: Context): Promise<Issuer> => {
    checkIssuer(issuer!, updateMask?.length ? updateMask : Object.keys(ISSUERS.columns));
    return updateResource(dependencies, ISSUERS, issuer!, updateMask, context);
  };
