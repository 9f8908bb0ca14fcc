import type { Context } from "waybill";
import type { GetIssuerRequest, Issuer } from "#proto/waybill/identity/v1/identity.ts";
import type { IdentityDependencies } from "../index.ts";
import { getResource } from "../resources.ts";
import { ISSUERS } from "./issuer.ts";

/** Reads a trusted issuer. */
export const getIssuer =
  (dependencies: IdentityDependencies) =>
  ({ name }: GetIssuerRequest, context: Context): Promise<Issuer> =>
    getResource(dependencies, ISSUERS, name, context);
