import { Notifications } from "waybill/postgres";
import { KeysServiceService } from "#proto/waybill/keys/v1/keys.ts";
import { loadWrapping } from "#shared/auth/credentials/wrapping.ts";
import { every, untilDone } from "#shared/runtime/periodic.ts";
import { AuditLog } from "../auditLog/auditLog.ts";
import { longestSessionS } from "../replica/longestSession.ts";
import type { ReplicaDependencies } from "../replica/replicaDependencies.ts";
import { revocationsFeed } from "./feed.ts";
import { keysHandlers } from "./index.ts";
import { Rings } from "./rings/rings.ts";
import { RING_CHANNEL } from "./rings/sql/updateVersion.ts";
import { deleteExpiredRevocations } from "./sql/deleteExpiredRevocations.ts";
import { FEED_CHANNEL } from "./sql/insertRevocations.ts";
import { Versions } from "./versions.ts";

const MAINTAIN_MS = 60_000;
const SWEEP_MS = 10 * 60_000;
/** What the database's clock may be off, or jump, while a lease lasts. */
const GRACE_S = 5;
/** Page tokens are sealed under rings, too. */
const CURSOR_LIFE_S = 24 * 60 * 60;

/** The key service of this replica. */
export interface Keys {
  /** For leases that are given back when the server has closed. */
  readonly rings: Rings;
  /** Settles when one of the rings could be opened, or there is none yet. */
  readonly ready: Promise<void>;
}

/** Depends on nobody: it starts before the replica listens, and so before it could ask itself. */
export function startKeys({
  config,
  log,
  server,
  releasers,
  credentials,
  contract,
  database,
}: Pick<
  ReplicaDependencies,
  "config" | "log" | "server" | "releasers" | "credentials" | "contract" | "database"
>): Keys {
  const db = database("keys");
  const versions = new Versions(db, log);
  releasers.push("the poll of ring versions", () => versions.close());
  const feed = revocationsFeed(db);
  releasers.push("the feed of revocations", () => feed.close());
  const sweep = () => deleteExpiredRevocations(db);
  const what = "remove revocations that have run out";
  releasers.push("the sweep of revocations", every(what, SWEEP_MS, sweep, log));
  const notifications = new Notifications(db, log, {
    [FEED_CHANNEL]: () => feed.wake(),
    [RING_CHANNEL]: (said) => versions.hear(said),
  });
  releasers.push("the notifications of the key services", () => notifications.close());
  const wrapping = loadWrapping(config.keyEncryptionKeyFile!);
  const audit = new AuditLog(db, "keys");
  const keepS = longestSessionS({ contract, config }) + CURSOR_LIFE_S;
  const terms = { leaseS: config.ringLeaseS, graceS: GRACE_S, keepS };
  const rings = new Rings({ db, wrapping, terms, versions, audit });
  const parts = { db, rings, credentials, versions, feed, audit };
  const care = async () => {
    const { done, failures } = await rings.maintain(config.ringRotateS);
    if (failures.length === 0) return;
    log.error({ err: new AggregateError(failures) }, "cannot take care of some of the rings");
    if (done === 0) throw new Error("none of the rings can be opened");
  };
  // At once, too: who has put a new key-encryption key in place waits for it to be done.
  const starting = new AbortController();
  releasers.push("the first care of rings", () => starting.abort());
  const ready = untilDone("open the rings", care, log, starting.signal);
  releasers.push("the care of rings", every("care of rings", MAINTAIN_MS, care, log));
  server.add(KeysServiceService, keysHandlers(parts));
  return { rings, ready };
}
