import type { QueryConfig, QueryResultRow } from "pg";
import { withConnection } from "./connection.ts";
import type { Db, Pool } from "./pool.ts";

/**
 * The pool for the length of one call: a statement that still waits for a connection when the caller
 * has gone is not begun. So calls that were given up cost those that were not next to nothing.
 *
 * @param call its signal is aborted when the caller has gone; rejects with the signal's reason then
 */
export function during(pool: Pool, { signal }: { signal: AbortSignal }): Db {
  return {
    query: <Row extends QueryResultRow>(statement: string | QueryConfig, values?: unknown[]) =>
      withConnection(pool, (client) => {
        signal.throwIfAborted();
        return client.query<Row>(statement, values);
      }),
  };
}
