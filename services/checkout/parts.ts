import type { Logger } from "pino";
import type { CatalogServiceService } from "#proto/waybill/catalog/v1/catalog.ts";
import type { IdentityServiceService } from "#proto/waybill/identity/v1/identity.ts";
import type { ServiceClient } from "#shared/client/client.ts";
import type { Pool } from "#shared/pg/pool.ts";
import type { Cursors } from "#shared/waybill/cursors.ts";

/** What the handlers share. */
export interface CheckoutParts {
  db: Pool;
  catalog: ServiceClient<typeof CatalogServiceService>;
  cursors: Cursors;
  /** Undefined where no access token is taken. */
  identity: Pick<ServiceClient<typeof IdentityServiceService>, "getUser"> | undefined;
  log: Logger;
}
