import type { Pool } from "#shared/pg/pool.ts";
import type { SessionRevocations } from "#shared/session/options.ts";
import type { Cursors } from "#shared/waybill/cursors.ts";
import type { SessionDirectory } from "./sessionDirectory.ts";

/** What the handlers share. */
export interface SessionOptions {
  db: Pool;
  directory: SessionDirectory;
  cursors: Cursors;
  feed: SessionRevocations;
}
