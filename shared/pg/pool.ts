import pg from "pg";
import { MAX_TIMER_MS, wholeNumber } from "../runtime/wholeNumber.ts";

/** A connection pool of `pg`. */
export type Pool = pg.Pool;

/** Runs statements: a pool, a pool bound to a call (`during`), or a transaction. */
export interface Db {
  query<Row extends pg.QueryResultRow>(
    statement: string | pg.QueryConfig,
    values?: unknown[],
  ): Promise<pg.QueryResult<Row>>;
}

/** Options of a pool. */
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
   * True if each connection prepares statements. Set it to false behind a pooler in transaction mode: the pool then
   * uses nothing that outlives a transaction, and timeouts are those of the login role. Default: true.
   */
  prepare?: boolean;
}

/** Removes the names of statements, so that they are not prepared. */
class Unprepared extends pg.Client {
  // The method has a dozen signatures, which pg itself does not tell apart.
  // biome-ignore lint/suspicious/noExplicitAny: they all go through.
  override query(statement: any, ...rest: any[]): any {
    const isNamed = typeof statement === "object" && statement !== null && "name" in statement;
    const bare = isNamed ? { ...statement, name: undefined } : statement;
    // biome-ignore lint/suspicious/noExplicitAny: as above.
    return (super.query as any)(bare, ...rest);
  }
}

/** Margin of the client's statement timeout over the server's, in ms. */
const CLIENT_MARGIN_MS = 1000;

/**
 * Makes a pool, which connects at the first statement. It reads `int8` as bigint.
 *
 * @throws Error naming the argument that breaks a rule; never the address, which contains a password
 */
export function createPool(url: string, options: PoolOptions): Pool {
  // Without a URL, pg would connect to the address of its environment or defaults.
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
    // A client that stalls in a transaction would hold its locks.
    idle_in_transaction_session_timeout: timeoutMs,
  };
  const pool = new pg.Pool({
    ...(prepare ? limits : { Client: Unprepared }),
    connectionString: url,
    max: options.max,
    application_name: options.name,
    connectionTimeoutMillis: connectMs,
    idleTimeoutMillis: 30_000,
    // The client has a timeout, too: a database that hangs does not enforce its own.
    query_timeout: timeoutMs + CLIENT_MARGIN_MS,
    keepAlive: true,
    types,
  });
  // The next statement replaces an idle connection that breaks. Without a listener it would end the process.
  pool.on("error", () => {});
  return pool;
}
