import { randomBytes } from "node:crypto";
import { KeysServiceService } from "#proto/waybill/keys/v1/keys.ts";
import { serviceAuthentication } from "#shared/auth/credentials/assertion.ts";
import { wrapping } from "#shared/auth/credentials/wrapping.ts";
import { createPool, type Pool } from "#shared/pg/pool.ts";
import { RingWatcher } from "#shared/rings/ringWatcher.ts";
import { Server } from "#shared/server/server.ts";
import { AuditLog } from "../../services/auditLog/auditLog.ts";
import { keysHandlers } from "../../services/keys/index.ts";
import { Rings } from "../../services/keys/rings/rings.ts";
import { makeCredentials } from "../support/callers/credentials.ts";
import { contract } from "../support/clients.ts";
import { migratedPostgres } from "../support/postgres.ts";

/** A key service with its own Postgres, and short leases. */
export interface KeyService {
  readonly pool: Pool;
  /** Leases checkout's ring, for a holder that reads states up to the revision. */
  lease(revision: number): Promise<RingWatcher>;
  close(): Promise<void>;
}

export async function startKeyService(): Promise<KeyService> {
  const credentials = await makeCredentials();
  const postgres = await migratedPostgres();
  const pool = createPool(postgres.url, { max: 10, name: "two-step" });
  const audit = new AuditLog(pool, "keys");
  const rings = new Rings({
    db: pool,
    wrapping: wrapping(randomBytes(32)),
    terms: { leaseS: 2, graceS: 1, keepS: 60 },
    versions: { tell() {} },
    audit,
  });
  const server = new Server({ contract, authenticate: serviceAuthentication(credentials) });
  server.add(KeysServiceService, keysHandlers({ db: pool, rings, credentials, audit } as never));
  const target = `127.0.0.1:${await server.listen("127.0.0.1:0")}`;
  let holders = 0;
  return {
    pool,
    async lease(reads) {
      holders += 1;
      const ring = new RingWatcher({
        target,
        service: "checkout",
        audience: "checkout",
        credentials,
        lease: { holder: `replica/${holders}`, reads },
      });
      await ring.ready;
      return ring;
    },
    async close() {
      await server.drain();
      await pool.end();
      await postgres.remove();
    },
  };
}
