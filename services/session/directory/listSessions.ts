import { type Context, cutPage, pageSize } from "waybill";
import { during } from "waybill/postgres";
import type {
  ListedSession,
  ListSessionsRequest,
  ListSessionsResponse,
  SessionState,
} from "#proto/waybill/session/v1/session.ts";
import { timeOf, uuidFromBytes, uuidToBytes } from "#shared/runtime/uuid.ts";
import type { SessionDependencies } from "../index.ts";
import { type EntryRow, listEntries } from "../sql/listEntries.ts";

/** Lists the caller's stored sessions, newest first. */
export const listSessions =
  ({ db, cursors, feed }: SessionDependencies) =>
  async (
    { pageToken, pageSize: asked }: ListSessionsRequest,
    context: Context<SessionState>,
  ): Promise<ListSessionsResponse> => {
    const { method, token } = context;
    const { subject, epoch } = token;
    // Binds page tokens to the owner, so that another subject cannot use them.
    const question = Buffer.from(subject);
    const after = pageToken
      ? uuidFromBytes(await cursors.open(method, question, pageToken))
      : undefined;
    const size = pageSize(asked);
    const rows = await listEntries(during(db, context), subject, after, size + 1);
    const { page, last } = cutPage(rows, size);
    const isEnded = ({ id }: EntryRow) =>
      feed.revocations.has({ subject, epoch, family: undefined, session: id });
    return {
      sessions: page.filter((row) => !isEnded(row)).map(toListed),
      nextPageToken: last ? cursors.seal(method, question, uuidToBytes(last.id)) : "",
    };
  };

function toListed({ id, audience, expiresAt }: EntryRow): ListedSession {
  return {
    name: `sessions/${id}`,
    audience,
    createTime: new Date(timeOf(id)),
    expireTime: expiresAt,
  };
}
