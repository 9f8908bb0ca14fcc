import type { FindIssuerRequest, FindIssuerResponse } from "#proto/waybill/identity/v1/identity.ts";
import type { Context } from "#shared/contract/handlers.ts";
import { during } from "#shared/pg/during.ts";
import { onlyToken } from "./authorizeService.ts";
import { ISSUERS } from "./issuers.ts";
import type { IdentityParts } from "./parts.ts";
import { readIssuer } from "./sql/readIssuer.ts";

export const findIssuer =
  ({ db }: IdentityParts) =>
  async ({ issuer }: FindIssuerRequest, context: Context): Promise<FindIssuerResponse> => {
    onlyToken(context);
    const row = await readIssuer(during(db, context), issuer);
    return { issuer: row && ISSUERS.toMessage(row) };
  };
