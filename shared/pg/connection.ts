import type pg from "pg";
import { StatusError } from "../errors.ts";
import { databaseError, sqlStateOf } from "./errors.ts";
import type { Pool } from "./pool.ts";

/**
 * Takes a connection out of the pool for as long as `work` runs. One that has broken is not put back.
 *
 * @param work may say by `drop` that the connection is of no use, where its own error does not
 */
export async function withConnection<Result>(
  pool: Pool,
  work: (client: pg.PoolClient, drop: (error: Error) => void) => Promise<Result>,
): Promise<Result> {
  const client = await pool.connect();
  let broken: Error | undefined;
  // Without a listener, a connection that breaks while it is out of the pool ends the process.
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

/** Whether an error leaves the connection that it came by of no use. */
function breaks(error: unknown): boolean {
  if (error instanceof StatusError) return breaks(error.details.cause);
  // A statement that was refused says nothing of its connection; FATAL and PANIC end it.
  if (sqlStateOf(error) !== undefined) return (error as pg.DatabaseError).severity !== "ERROR";
  return databaseError(error) !== undefined;
}
