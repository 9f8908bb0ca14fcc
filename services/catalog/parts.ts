import type { Pool } from "#shared/pg/pool.ts";
import type { Cursors } from "#shared/waybill/cursors.ts";
import type { ChangesFeed } from "./feed.ts";

/** What the handlers share. */
export interface CatalogParts {
  db: Pool;
  cursors: Cursors;
  feed: ChangesFeed;
}
