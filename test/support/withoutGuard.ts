import type { QueryConfig } from "pg";
import type { Db } from "#shared/pg/pool.ts";

/** A guard: text of the product's SQL, and its replacement (default: none). */
export type Guard = readonly [text: RegExp, replacement?: string];

/**
 * Runs `work` on a pool or connection whose statements lack some guards, to show the anomaly that each
 * prevents.
 *
 * @throws Error if no statement of `work` contains a guard: the test would run the product unchanged
 */
export async function withoutGuard<Target extends Db, Result>(
  db: Target,
  guards: readonly Guard[],
  work: (unguarded: Target) => Promise<Result>,
): Promise<Result> {
  const found = new Set<Guard>();
  const cut = (statement: string) =>
    guards.reduce((text, guard) => {
      const changed = text.replace(guard[0], guard[1] ?? "");
      if (changed !== text) found.add(guard);
      return changed;
    }, statement);
  const result = await work(cutting(db, cut));
  for (const guard of guards) {
    if (!found.has(guard)) throw new Error(`no statement has the guard ${guard[0]}`);
  }
  return result;
}

/** Wraps a pool or a connection, and the connections that a pool gives out. */
function cutting<Target extends Db>(db: Target, cut: (statement: string) => string): Target {
  const query = (statement: string | QueryConfig, values?: unknown[]) =>
    typeof statement === "string"
      ? db.query(cut(statement), values)
      : // Without its name: a connection may have prepared the guarded text under it.
        db.query({ text: cut(statement.text), values: statement.values ?? [] });
  return new Proxy(db, {
    get(target, name) {
      if (name === "query") return query;
      const value: unknown = Reflect.get(target, name);
      if (typeof value !== "function") return value;
      if (name === "connect") return async () => cutting(await value.call(target), cut);
      return value.bind(target);
    },
  });
}
