import type { PoolClient } from "pg";
import { Errors } from "../errors.ts";
import { withConnection } from "./connection.ts";
import type { Db, Pool } from "./pool.ts";

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

/** A transaction whose end lies elsewhere than its beginning. */
export interface OpenTransaction {
  readonly db: Db;
  /** Call one of them, once. Rejects with DATABASE_UNAVAILABLE when nobody knows whether it happened. */
  commit(): Promise<void>;
  rollback(): Promise<void>;
}

/** Begins a transaction. Its connection is out of the pool until it is ended. */
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
