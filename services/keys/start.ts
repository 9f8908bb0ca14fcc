import { Notifications } from "waybill/postgres";
import { KeysServiceService } from "#proto/waybill/keys/v1/keys.ts";
import { loadWrapping } from "#shared/auth/credentials/wrapping.ts";
import { every, untilDone } from "#shared/runtime/periodic.ts";
import { AuditLog } from "../auditLog/auditLog.ts";
import type { KeysConfig } from "../replica/config/config.ts";
import type { KeysDependencies } from "../replica/replicaDependencies.ts";
import { revocationsFeed } from "./feed.ts";
import { keysHandlers } from "./index.ts";
import { Rings } from "./rings/rings.ts";
import { RING_CHANNEL } from "./rings/sql/updateVersion.ts";
import { deleteExpiredRevocations } from "./sql/deleteExpiredRevocations.ts";
import { FEED_CHANNEL } from "./sql/insertRevocations.ts";
import { Versions } from "./versions.ts";

const MAINTAIN_MS = 60_000;
const SWEEP_MS = 10 * 60_000;
/** Largest clock error or jump of the database during a lease. */
const GRACE_S = 5;
/** Rings also seal page tokens. */
const CURSOR_LIFE_S = 24 * 60 * 60;

/** The key service of this replica. */
export interface Keys {
  /** Returns the leases of this process after the server has closed. */
  readonly rings: Rings;
  /** Settles when at least one ring opens, or there is none yet. */
  readonly ready: Promise<void>;
}

/** Starts the key service. It calls no service, so it starts before the replica listens. */
export function startKeys(replica: KeysDependencies, config: KeysConfig): Keys {
  const { log, server, releasers, credentials } = replica;
  const db = replica.database("keys", config.database);
  const versions = new Versions(db, log);
  releasers.push("the poll of ring versions", () => versions.close());
  const feed = revocationsFeed(db);
  releasers.push("the feed of revocations", () => feed.close());
  const sweep = () => deleteExpiredRevocations(db);
  const what = "deletion of expired revocations";
  releasers.push("the sweep of revocations", every(what, SWEEP_MS, sweep, log));
  const notifications = new Notifications(db, log, {
    [FEED_CHANNEL]: () => feed.wake(),
    [RING_CHANNEL]: (said) => versions.hear(said),
  });
  releasers.push("the notifications of the key services", () => notifications.close());
  const wrapping = loadWrapping(config.keyEncryptionKeyFile);
  const audit = new AuditLog(db, "keys");
  const keepS = replica.longestSessionS + CURSOR_LIFE_S;
  const terms = { leaseS: config.ringLeaseS, graceS: GRACE_S, keepS };
  const rings = new Rings({ db, wrapping, terms, versions, audit });
  server.add(KeysServiceService, keysHandlers({ db, rings, credentials, versions, feed, audit }));
  return { rings, ready: maintainRings(replica, rings, config.ringRotateS) };
}

/**
 * Rotates and rewraps the rings now and once a minute. Now, because an operator who installs a new
 * key-encryption key waits until the rings are rewrapped.
 */
function maintainRings(
  { log, releasers }: KeysDependencies,
  rings: Rings,
  rotateS: number,
): Promise<void> {
  const maintain = async () => {
    const { done, failures } = await rings.maintain(rotateS);
    if (failures.length === 0) return;
    const err = new AggregateError(failures);
    log.error({ err }, "failed to maintain some key rings; check the key-encryption key");
    if (done === 0) throw new Error("no key ring opens");
  };
  const what = "maintenance of key rings";
  const starting = new AbortController();
  releasers.push("the first maintenance of rings", () => starting.abort());
  releasers.push("the maintenance of rings", every(what, MAINTAIN_MS, maintain, log));
  return untilDone(what, maintain, log, starting.signal);
}
