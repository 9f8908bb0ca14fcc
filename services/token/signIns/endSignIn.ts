import type { Context } from "waybill";
import type { EndSignInRequest, EndSignInResponse } from "#proto/waybill/token/v1/token.ts";
import { TokenErrors } from "../errors.ts";
import type { TokenDependencies } from "../index.ts";

/** Ends one of the caller's sign-ins. Ending it again is not an error. */
export const endSignIn =
  ({ families }: TokenDependencies) =>
  async ({ name }: EndSignInRequest, context: Context): Promise<EndSignInResponse> => {
    const { subject, family } = context.token;
    const id = name === "signIns/current" ? family : name.slice("signIns/".length);
    if (id === undefined) throw TokenErrors.SIGN_IN_NOT_FOUND({ metadata: { name } });
    await families.end(subject, { only: id }, "signOut", context);
    return {};
  };
