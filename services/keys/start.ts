import { KeysServiceService } from "#proto/waybill/keys/v1/keys.ts";
import { AuditLog } from "#shared/audit/auditLog.ts";
import { loadWrapping } from "#shared/credentials/wrapping.ts";
import type { ReplicaParts } from "../replicaParts.ts";
import { Feed } from "./feed.ts";
import { keysHandlers } from "./index.ts";
import { Versions } from "./versions.ts";

/** Depends on nobody: it starts before the replica listens, and so before it could ask itself. */
export function startKeys({
  config,
  log,
  server,
  releasers,
  credentials,
  database,
}: Pick<
  ReplicaParts,
  "config" | "log" | "server" | "releasers" | "credentials" | "database"
>): void {
  const db = database("keys");
  const versions = new Versions(db, log);
  releasers.push("the poll of ring versions", () => versions.close());
  const feed = new Feed(db, log);
  releasers.push("the feed of revocations", () => feed.close());
  const wrapping = loadWrapping(config.keyEncryptionKeyFile!);
  const audit = new AuditLog(db, "keys");
  server.add(
    KeysServiceService,
    keysHandlers({ db, wrapping, credentials, versions, feed, audit }),
  );
}
