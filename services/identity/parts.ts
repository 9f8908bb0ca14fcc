import type { KeysServiceService } from "#proto/waybill/keys/v1/keys.ts";
import type { Assertions } from "#shared/auth/assertions.ts";
import type { ServiceClient } from "#shared/client/client.ts";
import type { Pool } from "#shared/pg/pool.ts";
import type { Cursors } from "#shared/waybill/cursors.ts";
import type { AuditLog } from "../auditLog/auditLog.ts";
import type { Attempts } from "./attempts.ts";
import type { Outbox } from "./outbox.ts";
import type { SecretHasher } from "./secretHasher.ts";

/** What the handlers share. */
export interface IdentityParts {
  db: Pool;
  cursors: Cursors;
  audit: AuditLog;
  outbox: Outbox;
  hasher: SecretHasher;
  /** Whether anybody may make himself an account. */
  openSignUp: boolean;
  attempts: Attempts;
  keys: Pick<ServiceClient<typeof KeysServiceService>, "listAuditEvents">;
  assertions: Assertions;
}
