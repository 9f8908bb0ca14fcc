import type pg from "pg";
import { StatusError } from "../errors.ts";
import { databaseError, sqlStateOf } from "./errors.ts";
import type { Pool } from "./pool.ts";

/**
 * Checks out a connection for `work`. A broken connection does not return to the pool.
 *
 * @param work calls `drop` when the connection is broken but the error of `work` does not show it
 */
export async function withConnection<Result>(
  pool: Pool,
  work: (client: pg.PoolClient, drop: (error: Error) => void) => Promise<Result>,
): Promise<Result> {
  const client = await pool.connect();
  let broken: Error | undefined;
  // Without a listener, a connection that breaks while it is checked out ends the process.
  const drop = (error: Error) => {
    broken = error;
  };
  client.on("error", drop);
  try {
    return await work(client, drop);
  } catch (error) {
    if (breaks(error)) broken ??= error as Error;
    throw error;
  } finally {
    client.off("error", drop);
    client.release(broken);
  }
}

/** Returns whether an error shows that its connection is broken. */
function breaks(error: unknown): boolean {
  if (error instanceof StatusError) return breaks(error.details.cause);
  // A refused statement leaves the connection usable; FATAL and PANIC end it.
  if (sqlStateOf(error) !== undefined) return (error as pg.DatabaseError).severity !== "ERROR";
  return databaseError(error) !== undefined;
}
