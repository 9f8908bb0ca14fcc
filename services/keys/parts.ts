import type { AuditLog } from "#shared/audit/auditLog.ts";
import type { Credentials } from "#shared/credentials/credentials.ts";
import type { Wrapping } from "#shared/credentials/wrapping.ts";
import type { Pool } from "#shared/pg/pool.ts";
import type { Feed } from "./feed.ts";
import type { Versions } from "./versions.ts";

/** What the handlers share. */
export interface KeysParts {
  db: Pool;
  wrapping: Wrapping;
  /** How long what a ring's key sealed may live, in seconds. */
  keepS: number;
  credentials: Credentials;
  versions: Versions;
  feed: Feed;
  audit: AuditLog;
}
