import type { PoolClient } from "pg";
import { Errors } from "../errors/errors.ts";
import type { Pool } from "./pool.ts";

/**
 * Runs `work` in a transaction: committed when it resolves, rolled back when it rejects.
 *
 * An error of COMMIT itself leaves open whether it happened, so it is answered as
 * DATABASE_UNAVAILABLE, which the caller may retry, and never as ABORTED.
 */
export async function transaction<Result>(
  pool: Pool,
  work: (tx: PoolClient) => Promise<Result>,
): Promise<Result> {
  const client = await pool.connect();
  let broken: Error | undefined;
  // Without a listener, a connection that breaks between two statements ends the process.
  const onError = (error: Error) => {
    broken = error;
  };
  client.on("error", onError);
  try {
    await client.query("BEGIN");
    const result = await work(client);
    try {
      await client.query("COMMIT");
    } catch (cause) {
      broken = cause as Error;
      throw Errors.DATABASE_UNAVAILABLE({ cause, retryAfterMs: 1000 });
    }
    return result;
  } catch (error) {
    if (broken === undefined) {
      await client.query("ROLLBACK").catch((failure: Error) => {
        broken = failure;
      });
    }
    throw error;
  } finally {
    client.off("error", onError);
    client.release(broken);
  }
}
