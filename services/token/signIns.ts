import type {
  EndOtherSignInsRequest,
  EndOtherSignInsResponse,
  EndSignInRequest,
  EndSignInResponse,
  ListSignInsRequest,
  ListSignInsResponse,
} from "#proto/waybill/token/v1/token.ts";
import type { Context } from "#shared/contract/handlers.ts";
import { during } from "#shared/pg/during.ts";
import { cutPage, pageSize } from "#shared/server/pagination.ts";
import { TokenErrors } from "./errors.ts";
import type { TokenParts } from "./parts.ts";
import { listFamilies } from "./sql/listFamilies.ts";

export const listSignIns =
  ({ db, cursors }: TokenParts) =>
  async (
    { pageSize: asked, pageToken }: ListSignInsRequest,
    context: Context,
  ): Promise<ListSignInsResponse> => {
    const { method, token } = context;
    const question = Buffer.from(token.subject);
    const before = pageToken
      ? Buffer.from(await cursors.open(method, question, pageToken)).toString("utf8")
      : undefined;
    const size = pageSize(asked);
    const rows = await listFamilies(during(db, context), token.subject, before, size + 1);
    const { page, last } = cutPage(rows, size);
    return {
      signIns: page.map((row) => ({
        name: `signIns/${row.id}`,
        client: row.client,
        device: row.device,
        address: row.address,
        createTime: row.createdAt,
        refreshTime: row.redeemedAt,
        expireTime: row.endsAt,
        current: row.id === token.family,
      })),
      nextPageToken: last ? cursors.seal(method, question, Buffer.from(last.id)) : "",
    };
  };

/** Ending what has ended already is no error; what was never the caller's is. */
export const endSignIn =
  ({ families }: TokenParts) =>
  async ({ name }: EndSignInRequest, context: Context): Promise<EndSignInResponse> => {
    const { subject, family } = context.token;
    const id = name === "signIns/current" ? family : name.slice("signIns/".length);
    if (id === undefined) throw TokenErrors.SIGN_IN_NOT_FOUND({ metadata: { name } });
    await families.end(subject, { only: id }, "signOut", context);
    return {};
  };

export const endOtherSignIns =
  ({ families }: TokenParts) =>
  async (_request: EndOtherSignInsRequest, context: Context): Promise<EndOtherSignInsResponse> => {
    const { subject, family } = context.token;
    return { ended: await families.end(subject, { except: family }, "signOut", context) };
  };
