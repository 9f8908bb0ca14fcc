import type { AnchorServiceService } from "#proto/waybill/session/v1/anchors.ts";
import { Anchors } from "#shared/anchors/anchors.ts";
import type { Context, Handlers } from "#shared/grpc/handlers.ts";
import type { Pool } from "#shared/pg/pool.ts";
import { advanceAnchors } from "./advanceAnchors.ts";
import { beginAnchors } from "./beginAnchors.ts";
import { getAdvance } from "./getAdvance.ts";
import { getAnchor } from "./getAnchor.ts";
import { listKeptAnswers } from "./listKeptAnswers.ts";

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

export function anchorHandlers(of: AnchorsOf): Handlers<typeof AnchorServiceService> {
  return {
    beginAnchors: beginAnchors(of),
    advanceAnchors: advanceAnchors(of),
    getAnchor: getAnchor(of),
    getAdvance: getAdvance(of),
    listKeptAnswers: listKeptAnswers(of),
  };
}
