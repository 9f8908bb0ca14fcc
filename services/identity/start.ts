import { Cursors } from "waybill";
import { createClient } from "waybill/client";
import { IdentityServiceService } from "#proto/waybill/identity/v1/identity.ts";
import { KeysServiceService } from "#proto/waybill/keys/v1/keys.ts";
import { TokenServiceService } from "#proto/waybill/token/v1/token.ts";
import { every } from "#shared/runtime/periodic.ts";
import { AuditLog } from "../auditLog/auditLog.ts";
import type { IdentityConfig } from "../replica/config/config.ts";
import type { ReplicaDependencies } from "../replica/replicaDependencies.ts";
import { Attempts } from "./attempts.ts";
import { identityHandlers } from "./index.ts";
import { Outbox } from "./outbox.ts";
import { SecretHasher } from "./secretHasher.ts";
import { deleteOldAttempts } from "./sql/deleteOldAttempts.ts";

const DELIVER_MS = 2000;
const SWEEP_MS = 10 * 60_000;

export function startIdentity(replica: ReplicaDependencies, config: IdentityConfig): void {
  const { address, keysTarget, releasers, server, feed, log } = replica;
  const db = replica.database("identity", config.database);
  const assertions = replica.assertions("identity");
  const options = replica.clientOptions();
  const token = createClient(TokenServiceService, replica.config.tokenAddress ?? address, options);
  const keys = createClient(KeysServiceService, keysTarget, options);
  releasers.push("identity's clients", () => {
    token.close();
    keys.close();
  });
  const outbox = new Outbox({ db, feed, token, assertions, ttlS: replica.longestSessionS });
  releasers.push(
    "identity's outbox",
    every("delivery of the identity outbox", DELIVER_MS, () => outbox.deliverLeftOvers(), log),
  );
  releasers.push(
    "identity's sweep",
    every("deletion of old identity attempts", SWEEP_MS, () => deleteOldAttempts(db), log),
  );
  server.add(
    IdentityServiceService,
    identityHandlers({
      db,
      keys,
      outbox,
      assertions,
      cursors: new Cursors("identity", replica.ringOf("identity")),
      audit: new AuditLog(db, "identity"),
      openSignUp: config.openSignUp,
      hasher: new SecretHasher(config.argon2),
      attempts: new Attempts(db),
    }),
  );
}
