import { type Context, Errors } from "waybill";
import type { EndSubjectRequest, EndSubjectResponse } from "#proto/waybill/token/v1/token.ts";
import type { TokenDependencies } from "../index.ts";

/** Ends every sign-in of a subject below an epoch, for the identity service only. */
export const endSubject =
  ({ families }: TokenDependencies) =>
  async ({ subject, epoch }: EndSubjectRequest, context: Context): Promise<EndSubjectResponse> => {
    const { method, caller } = context;
    if (caller.service !== "identity") throw Errors.ACCESS_DENIED({ metadata: { method } });
    await families.endSubject(subject, epoch, context);
    return {};
  };
