import pg from "pg";

export type Pool = pg.Pool;

/** What a statement can be run on: a pool, one for the length of a call, or a transaction. */
export interface Db {
  query<Row extends pg.QueryResultRow>(
    statement: string | pg.QueryConfig,
    values?: unknown[],
  ): Promise<pg.QueryResult<Row>>;
}

/** How a pool is set up. */
export interface PoolOptions {
  /** Most connections held at a time. */
  max: number;
  /** Shown in pg_stat_activity. */
  name: string;
  /** Longest wait for a connection, in ms. Default: 2,000. */
  connectTimeoutMs?: number;
  /** Longest run of a statement, in ms. Default: 10,000. */
  statementTimeoutMs?: number;
}

/** Makes a pool. Nothing is connected before the first statement. `int8` is read as bigint. */
export function createPool(url: string, options: PoolOptions): Pool {
  const types = new pg.TypeOverrides();
  types.setTypeParser(pg.types.builtins.INT8, BigInt);
  const timeoutMs = options.statementTimeoutMs ?? 10_000;
  const pool = new pg.Pool({
    connectionString: url,
    max: options.max,
    application_name: options.name,
    connectionTimeoutMillis: options.connectTimeoutMs ?? 2000,
    idleTimeoutMillis: 30_000,
    // Kept by the client too: a database that hangs does not answer that the time is over.
    query_timeout: timeoutMs + 1000,
    statement_timeout: timeoutMs,
    keepAlive: true,
    types,
  });
  // An idle connection that breaks is replaced by the next statement; unheard, it ends the process.
  pool.on("error", () => {});
  return pool;
}
