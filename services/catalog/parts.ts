import type { Pool } from "#shared/pg/pool.ts";
import type { Cursors } from "#shared/waybill/cursors.ts";

/** What the handlers share. */
export interface CatalogParts {
  db: Pool;
  cursors: Cursors;
}
