import type { QueryConfig, QueryResult, QueryResultRow } from "pg";
import type { Db, Pool } from "./pool.ts";

/**
 * The pool for the length of one call: a statement that still waits for a connection when the caller
 * has gone is not begun. So calls that were given up cost those that were not next to nothing.
 *
 * @param call its signal is aborted when the caller has gone; rejects with the signal's reason then
 */
export function during(pool: Pool, { signal }: { signal: AbortSignal }): Db {
  const query = async <Row extends QueryResultRow>(
    statement: string | QueryConfig,
    values?: unknown[],
  ): Promise<QueryResult<Row>> => {
    const client = await pool.connect();
    let failure: Error | undefined;
    try {
      signal.throwIfAborted();
      return await client.query<Row>(statement, values);
    } catch (error) {
      // A statement that failed says nothing of the connection; the pool drops one that has broken.
      if (!signal.aborted && !("severity" in (error as object))) failure = error as Error;
      throw error;
    } finally {
      client.release(failure);
    }
  };
  return { query };
}
