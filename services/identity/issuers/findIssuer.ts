import { type Context, Errors } from "waybill";
import { during } from "waybill/postgres";
import type { FindIssuerRequest, FindIssuerResponse } from "#proto/waybill/identity/v1/identity.ts";
import type { IdentityDependencies } from "../index.ts";
import { readIssuer } from "../sql/readIssuer.ts";
import { ISSUERS } from "./issuer.ts";

/** Finds a trusted issuer by its `iss`, for the token service only. */
export const findIssuer =
  ({ db }: IdentityDependencies) =>
  async ({ issuer }: FindIssuerRequest, context: Context): Promise<FindIssuerResponse> => {
    const { caller, method } = context;
    if (caller.service !== "token") throw Errors.ACCESS_DENIED({ metadata: { method } });
    const row = await readIssuer(during(db, context), issuer);
    return { issuer: row && ISSUERS.toMessage(row) };
  };
