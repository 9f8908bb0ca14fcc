import type { QueryConfig, QueryResultRow } from "pg";
import { withConnection } from "./connection.ts";
import type { Db, Pool } from "./pool.ts";

/**
 * Binds a pool to one call: a statement that still waits for a connection when the call is cancelled is not run, so
 * cancelled calls do not slow down others. It rejects with the signal's reason.
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
