import { type Context, refusedValue } from "waybill";
import type {
  ListAuditEventsRequest,
  ListAuditEventsResponse,
} from "#proto/waybill/audit/v1/audit.ts";
import { KeysServiceService } from "#proto/waybill/keys/v1/keys.ts";
import type { IdentityDependencies } from "./index.ts";

/** Lists the audit events of the key service, and seals its page tokens. */
export const listKeyAuditEvents =
  ({ keys, cursors, assertions }: IdentityDependencies) =>
  async (request: ListAuditEventsRequest, context: Context): Promise<ListAuditEventsResponse> => {
    const { method } = context;
    const query = Buffer.from(JSON.stringify([request.actor, request.target, request.action]));
    const pageToken = request.pageToken
      ? Buffer.from(await cursors.open(method, query, request.pageToken)).toString("utf8")
      : "";
    const metadata = await assertions.to(KeysServiceService.listAuditEvents);
    const response = await keys
      .listAuditEvents({ ...request, pageToken }, { context, metadata })
      .catch((error: unknown) => {
        throw refusedValue(error) ?? error;
      });
    const next = response.nextPageToken;
    return {
      ...response,
      nextPageToken: next ? cursors.seal(method, query, Buffer.from(next)) : "",
    };
  };
