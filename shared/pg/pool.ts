import pg from "pg";
import { MAX_TIMER_MS, wholeNumber } from "../runtime/wholeNumber.ts";

/** A pool of connections, as `pg` makes it. */
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
  /**
   * Whether statements are prepared once a connection. Off, nothing is asked of the connection that
   * outlives a transaction, as poolers in transaction mode want it: limits in time are then those of
   * the login role. Default: on.
   */
  prepare?: boolean;
}

/** Leaves the names of statements out. */
class Unprepared extends pg.Client {
  // The method has a dozen signatures, of which pg itself tells none from the other.
  // biome-ignore lint/suspicious/noExplicitAny: they all go through.
  override query(statement: any, ...rest: any[]): any {
    const isNamed = typeof statement === "object" && statement !== null && "name" in statement;
    const bare = isNamed ? { ...statement, name: undefined } : statement;
    // biome-ignore lint/suspicious/noExplicitAny: as above.
    return (super.query as any)(bare, ...rest);
  }
}

/** The client's own limit of a statement is so much longer than the server's, in ms. */
const CLIENT_MARGIN_MS = 1000;

/**
 * Makes a pool. Nothing is connected before the first statement. `int8` is read as bigint.
 *
 * @throws Error naming the argument that breaks a rule; never the address, which has a password
 */
export function createPool(url: string, options: PoolOptions): Pool {
  // Without one, pg would connect to whatever its environment and its defaults say.
  if (typeof url !== "string" || !/^(postgres|postgresql|socket):/.test(url)) {
    throw new Error("createPool: url must be an address like postgres://user@host:port/database");
  }
  wholeNumber("createPool: max", options?.max, 1);
  const types = new pg.TypeOverrides();
  types.setTypeParser(pg.types.builtins.INT8, BigInt);
  const connectMs = wholeNumber(
    "createPool: connectTimeoutMs",
    options.connectTimeoutMs ?? 2000,
    1,
    MAX_TIMER_MS,
  );
  const timeoutMs = wholeNumber(
    "createPool: statementTimeoutMs",
    options.statementTimeoutMs ?? 10_000,
    1,
    MAX_TIMER_MS - CLIENT_MARGIN_MS,
  );
  const { prepare = true } = options;
  const limits = {
    statement_timeout: timeoutMs,
    // Who stops in the midst of a transaction keeps others waiting for its locks.
    idle_in_transaction_session_timeout: timeoutMs,
  };
  const pool = new pg.Pool({
    ...(prepare ? limits : { Client: Unprepared }),
    connectionString: url,
    max: options.max,
    application_name: options.name,
    connectionTimeoutMillis: connectMs,
    idleTimeoutMillis: 30_000,
    // Kept by the client too: a database that hangs does not answer that the time is over.
    query_timeout: timeoutMs + CLIENT_MARGIN_MS,
    keepAlive: true,
    types,
  });
  // An idle connection that breaks is replaced by the next statement; unheard, it ends the process.
  pool.on("error", () => {});
  return pool;
}
