import type { PoolClient } from "pg";
import { Errors } from "../errors/errors.ts";
import { withConnection } from "./connection.ts";
import type { Pool } from "./pool.ts";

/**
 * Runs `work` in a transaction: committed when it resolves, rolled back when it rejects.
 *
 * An error of COMMIT itself leaves open whether it happened, so it is answered as
 * DATABASE_UNAVAILABLE, which the caller may retry, and never as ABORTED.
 */
export function transaction<Result>(
  pool: Pool,
  work: (tx: PoolClient) => Promise<Result>,
): Promise<Result> {
  return withConnection(pool, async (client, drop) => {
    await client.query("BEGIN");
    let result: Result;
    try {
      result = await work(client);
    } catch (error) {
      // What went wrong first is what the caller hears.
      await client.query("ROLLBACK").catch(drop);
      throw error;
    }
    await client.query("COMMIT").catch((cause: Error) => {
      throw Errors.DATABASE_UNAVAILABLE({ cause, retryAfterMs: 1000 });
    });
    return result;
  });
}
