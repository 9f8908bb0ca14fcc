import type { Db } from "../../pg/pool.ts";

/** Deletes the saved response of one version of each session. */
export async function deleteSavedResponses(
  db: Db,
  schema: string,
  versions: readonly { readonly sessionId: string; readonly version: number }[],
): Promise<void> {
  await db.query({
    name: `${schema}.deleteSavedResponses`,
    text: `UPDATE ${schema}.advance SET answer = NULL
             FROM unnest($1::uuid[], $2::integer[]) AS old (session_id, version)
            WHERE advance.session_id = old.session_id AND advance.version = old.version`,
    values: [versions.map(({ sessionId }) => sessionId), versions.map(({ version }) => version)],
  });
}
