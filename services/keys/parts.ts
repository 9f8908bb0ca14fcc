import type { Credentials } from "#shared/auth/credentials/credentials.ts";
import type { Pool } from "#shared/pg/pool.ts";
import type { AuditLog } from "../auditLog/auditLog.ts";
import type { RevocationsFeed } from "./feed.ts";
import type { Rings } from "./rings.ts";
import type { Versions } from "./versions.ts";

/** What the handlers share. */
export interface KeysParts {
  db: Pool;
  rings: Rings;
  credentials: Credentials;
  versions: Versions;
  feed: RevocationsFeed;
  audit: AuditLog;
}
