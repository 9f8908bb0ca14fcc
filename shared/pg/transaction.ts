import type { PoolClient } from "pg";
import { Errors } from "../errors.ts";
import { withConnection } from "./connection.ts";
import type { Db, Pool } from "./pool.ts";

/**
 * Runs `work` in a transaction: commits when it resolves, rolls back when it rejects.
 *
 * After an error of COMMIT the outcome is unknown. It rejects with DATABASE_UNAVAILABLE, which the caller may retry,
 * never with ABORTED.
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
      // The caller gets the first error.
      await client.query("ROLLBACK").catch(drop);
      throw error;
    }
    await client.query("COMMIT").catch((cause: Error) => {
      throw Errors.DATABASE_UNAVAILABLE({ cause, retryAfterMs: 1000 });
    });
    return result;
  });
}

/** A transaction that is begun in one place and ended in another. */
export interface OpenTransaction {
  readonly db: Db;
  /** Call either `commit` or `rollback`, once. Rejects with DATABASE_UNAVAILABLE when the outcome is unknown. */
  commit(): Promise<void>;
  rollback(): Promise<void>;
}

/** Begins a transaction. Its connection is checked out of the pool until it ends. */
export async function openTransaction(pool: Pool): Promise<OpenTransaction> {
  const opened = Promise.withResolvers<Db>();
  const ended = Promise.withResolvers<"commit">();
  const settled = transaction(pool, (tx) => {
    opened.resolve(tx);
    return ended.promise;
  });
  settled.catch(opened.reject);
  const db = await opened.promise;
  return {
    db,
    async commit() {
      ended.resolve("commit");
      await settled;
    },
    async rollback() {
      const rolledBack = new Error("rolled back");
      ended.reject(rolledBack);
      await settled.catch((error: unknown) => {
        if (error !== rolledBack) throw error;
      });
    },
  };
}
