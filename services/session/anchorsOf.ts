import { Anchors } from "#shared/anchors/anchors.ts";
import type { Context } from "#shared/contract/handlers.ts";
import type { Pool } from "#shared/pg/pool.ts";

/** The anchors of the service that calls: it reaches no other's. */
export type AnchorsOf = (context: Pick<Context, "caller">) => Anchors;

export function anchorsOf(db: Pool): AnchorsOf {
  const made = new Map<string, Anchors>();
  return ({ caller: { service } }) => {
    // Who calls is one of the services that there is a key of: they are few.
    let anchors = made.get(service!);
    if (anchors === undefined) {
      anchors = new Anchors(db, "session", service!, service!);
      made.set(service!, anchors);
    }
    return anchors;
  };
}
