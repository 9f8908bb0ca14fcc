import type { Context } from "waybill";
import type {
  EndOtherSignInsRequest,
  EndOtherSignInsResponse,
} from "#proto/waybill/token/v1/token.ts";
import type { TokenDependencies } from "../index.ts";

/** Ends every sign-in of the caller except the one that the call uses. */
export const endOtherSignIns =
  ({ families }: TokenDependencies) =>
  async (_request: EndOtherSignInsRequest, context: Context): Promise<EndOtherSignInsResponse> => {
    const { subject, family } = context.token;
    return { ended: await families.end(subject, { except: family }, "signOut", context) };
  };
