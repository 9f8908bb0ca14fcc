import type { Credentials } from "#shared/credentials/credentials.ts";
import type { Pool } from "#shared/pg/pool.ts";
import type { Versions } from "./versions.ts";
import type { Wrapping } from "./wrapping.ts";

/** What the handlers share. */
export interface KeysParts {
  db: Pool;
  wrapping: Wrapping;
  credentials: Credentials;
  versions: Versions;
}
