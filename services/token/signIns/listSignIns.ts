import { type Context, cutPage, pageSize } from "waybill";
import { during } from "waybill/postgres";
import type { ListSignInsRequest, ListSignInsResponse } from "#proto/waybill/token/v1/token.ts";
import type { TokenDependencies } from "../index.ts";
import { listFamilies } from "./sql/listFamilies.ts";

/** Lists the caller's active sign-ins, newest first. */
export const listSignIns =
  ({ db, cursors }: TokenDependencies) =>
  async (
    { pageSize: asked, pageToken }: ListSignInsRequest,
    context: Context,
  ): Promise<ListSignInsResponse> => {
    const { method, token } = context;
    const query = Buffer.from(token.subject);
    const before = pageToken
      ? Buffer.from(await cursors.open(method, query, pageToken)).toString("utf8")
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
      nextPageToken: last ? cursors.seal(method, query, Buffer.from(last.id)) : "",
    };
  };
