import { type Context, type Cursors, cutPage, pageSize } from "waybill";
import { during, type Pool } from "waybill/postgres";
import type {
  ListAuditEventsRequest,
  ListAuditEventsResponse,
} from "#proto/waybill/audit/v1/audit.ts";
import { listAuditEvents as list } from "./sql/listAuditEvents.ts";

/** Lists the audit events of one schema, newest first. */
export const listAuditEvents =
  (db: Pool, schema: string, cursors: Pick<Cursors, "open" | "seal">) =>
  async (
    { pageToken, pageSize: asked, ...filter }: ListAuditEventsRequest,
    context: Context,
  ): Promise<ListAuditEventsResponse> => {
    const { method } = context;
    const query = Buffer.from(JSON.stringify([filter.actor, filter.target, filter.action]));
    const before = pageToken
      ? Buffer.from(await cursors.open(method, query, pageToken)).toString("utf8")
      : undefined;
    const size = pageSize(asked);
    const rows = await list(during(db, context), schema, filter, before, size + 1);
    const { page, last } = cutPage(rows, size);
    return {
      auditEvents: page.map(({ createdAt, ...row }) => ({ ...row, createTime: createdAt })),
      nextPageToken: last ? cursors.seal(method, query, Buffer.from(last.id)) : "",
    };
  };
