import type { Context } from "waybill";
import type { CreateIssuerRequest, Issuer } from "#proto/waybill/identity/v1/identity.ts";
import type { IdentityDependencies } from "../index.ts";
import { createResource } from "../resources.ts";
import { checkIssuer, ISSUERS } from "./issuer.ts";

/** Creates a trusted issuer. */
export const createIssuer =
  (dependencies: IdentityDependencies) =>
  async ({ issuer, issuerId }: CreateIssuerRequest, context: Context): Promise<Issuer> => {
    checkIssuer(issuer!, Object.keys(ISSUERS.columns));
    return createResource(dependencies, ISSUERS, issuerId, issuer!, context);
  };
