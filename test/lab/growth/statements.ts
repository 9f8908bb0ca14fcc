import { advanceAnchors } from "#shared/anchors/sql/advanceAnchors.ts";
import { deleteSavedResponses } from "#shared/anchors/sql/deleteSavedResponses.ts";
import { insertAnchors } from "#shared/anchors/sql/insertAnchors.ts";
import { insertSpill } from "#shared/anchors/sql/insertSpill.ts";
import { keepPartitions } from "#shared/anchors/sql/keepPartitions.ts";
import { readAdvance } from "#shared/anchors/sql/readAdvance.ts";
import { readAnchor } from "#shared/anchors/sql/readAnchor.ts";
import { readCheckpoint } from "#shared/anchors/sql/readCheckpoint.ts";
import { readSavedResponses } from "#shared/anchors/sql/readSavedResponses.ts";
import { readSpill } from "#shared/anchors/sql/readSpill.ts";
import { upsertCheckpoints } from "#shared/anchors/sql/upsertCheckpoints.ts";
import type { Db } from "#shared/pg/pool.ts";
import { newUuid } from "#shared/runtime/ids.ts";
import { insertAuditEvents } from "../../../services/auditLog/sql/insertAuditEvents.ts";
import { listAuditEvents } from "../../../services/auditLog/sql/listAuditEvents.ts";
import { parseFilter } from "../../../services/catalog/filter.ts";
import { listProducts, type Order } from "../../../services/catalog/sql/listProducts.ts";
import { readChanges } from "../../../services/catalog/sql/readChanges.ts";
import { readProducts } from "../../../services/catalog/sql/readProducts.ts";
import { updateProduct } from "../../../services/catalog/sql/updateProduct.ts";
import { insertOrder } from "../../../services/checkout/sql/insertOrder.ts";
import { listOrders } from "../../../services/checkout/sql/listOrders.ts";
import { readOrder } from "../../../services/checkout/sql/readOrder.ts";
import { takeStock } from "../../../services/checkout/sql/takeStock.ts";
import { countAttempts } from "../../../services/identity/sql/countAttempts.ts";
import { deleteOldAttempts } from "../../../services/identity/sql/deleteOldAttempts.ts";
import * as identityDelivered from "../../../services/identity/sql/deleteOutbox.ts";
import * as identityLeft from "../../../services/identity/sql/insertOutbox.ts";
import { readGrantedToUsers } from "../../../services/identity/sql/readGrantedToUsers.ts";
import { readIssuer } from "../../../services/identity/sql/readIssuer.ts";
import * as identityOutbox from "../../../services/identity/sql/readOutbox.ts";
import { readUserByName } from "../../../services/identity/sql/readUserByName.ts";
import { refundAttempts } from "../../../services/identity/sql/refundAttempts.ts";
import {
  deleteRow,
  insertRow,
  listRows,
  readRow,
  updateRow,
} from "../../../services/identity/sql/rows.ts";
import { upgradeSecretHash } from "../../../services/identity/sql/upgradeSecretHash.ts";
import { deleteKeys } from "../../../services/keys/rings/sql/deleteKeys.ts";
import { deleteLeases } from "../../../services/keys/rings/sql/deleteLeases.ts";
import { insertKey } from "../../../services/keys/rings/sql/insertKey.ts";
import { insertRing } from "../../../services/keys/rings/sql/insertRing.ts";
import { lockRing } from "../../../services/keys/rings/sql/lockRing.ts";
import { readAudiences } from "../../../services/keys/rings/sql/readAudiences.ts";
import { readForeignKeys } from "../../../services/keys/rings/sql/readForeignKeys.ts";
import { readLeases } from "../../../services/keys/rings/sql/readLeases.ts";
import { readRing } from "../../../services/keys/rings/sql/readRing.ts";
import { rewrapKey } from "../../../services/keys/rings/sql/rewrapKey.ts";
import { updateKey } from "../../../services/keys/rings/sql/updateKey.ts";
import { updateVersion } from "../../../services/keys/rings/sql/updateVersion.ts";
import { upsertLease } from "../../../services/keys/rings/sql/upsertLease.ts";
import { countSessionRevocations } from "../../../services/keys/sql/countSessionRevocations.ts";
import { deleteExpiredRevocations } from "../../../services/keys/sql/deleteExpiredRevocations.ts";
import { insertRevocations } from "../../../services/keys/sql/insertRevocations.ts";
import { lockFeed } from "../../../services/keys/sql/lockFeed.ts";
import { readRevocations } from "../../../services/keys/sql/readRevocations.ts";
import { readVersions } from "../../../services/keys/sql/readVersions.ts";
import { insertEntries } from "../../../services/session/sql/insertEntries.ts";
import { listEntries } from "../../../services/session/sql/listEntries.ts";
import { readEntry } from "../../../services/session/sql/readEntry.ts";
import { endFamilies } from "../../../services/token/signIns/sql/endFamilies.ts";
import { endSubject } from "../../../services/token/signIns/sql/endSubject.ts";
import { insertFamily } from "../../../services/token/signIns/sql/insertFamily.ts";
import { listFamilies } from "../../../services/token/signIns/sql/listFamilies.ts";
import { lockSubject } from "../../../services/token/signIns/sql/lockSubject.ts";
import * as tokenOutbox from "../../../services/token/signIns/sql/outbox.ts";
import { readFamily } from "../../../services/token/signIns/sql/readFamily.ts";
import { readFamilyOwner } from "../../../services/token/signIns/sql/readFamilyOwner.ts";
import { redeem } from "../../../services/token/signIns/sql/redeem.ts";
import { deleteSigningKeys } from "../../../services/token/signingKeys/sql/deleteSigningKeys.ts";
import { insertSigningKey } from "../../../services/token/signingKeys/sql/insertSigningKey.ts";
import { lockSigningKeys } from "../../../services/token/signingKeys/sql/lockSigningKeys.ts";
import { readSigningKeys } from "../../../services/token/signingKeys/sql/readSigningKeys.ts";
import { rewrapSigningKey } from "../../../services/token/signingKeys/sql/rewrapSigningKey.ts";
import { deleteExpired } from "../../../services/token/sql/deleteExpired.ts";
import { spend } from "../../../services/token/sql/spend.ts";
import { takeGrants } from "../../../services/token/sql/takeGrants.ts";

/** What each of them has in common is no more than that. */
type Run = (db: Db, ...args: never) => Promise<unknown>;

/** A statement on the path of calls, with the function that makes it. */
export interface Hot {
  readonly of: Run;
  readonly run: (db: Db) => Promise<unknown>;
  /** The tables that it may scan. */
  readonly scans: readonly string[];
}

function hot<Args extends unknown[]>(
  of: (db: Db, ...args: Args) => Promise<unknown>,
  ...args: Args
): Hot {
  return { of, run: (db) => of(db, ...args), scans: [] };
}

const mayScan = (statement: Hot, ...scans: string[]): Hot => ({ ...statement, scans });

const ids = Array.from({ length: 50 }, () => newUuid()).sort();
const id = ids[0]!;
const bytes = Buffer.alloc(32);
/** Returns a 128-bit id. */
const shorts = ids.map((_, at) => Buffer.alloc(16, at));
const lines = [
  { productId: 1n, quantity: 1 },
  { productId: 5000n, quantity: 2 },
];
const moves = ids.map((sessionId) => ({
  sessionId,
  version: 2,
  head: bytes,
  nextHead: bytes,
  digest: bytes,
  parent: bytes,
  call: bytes,
  answer: bytes,
  ended: false,
  isSaved: false,
}));
const begun = ids.map((sessionId) => ({ sessionId, head: bytes, digest: bytes, answer: bytes }));
const entries = ids.map((each) => ({
  id: each,
  subject: "users/1",
  audience: "a",
  expiresAt: Date.now(),
}));
const checkpoints = ids.map((sessionId) => ({ sessionId, version: 2, content: bytes }));
const order = { id, subject: "users/1", content: bytes };
const position = { createdAt: new Date().toISOString(), id };
const events = ids.map((each) => ({
  ...{ id: each, action: "token.refresh", outcome: "OK", actor: "users/1", client: "app" },
  ...{ target: `signIns/${each}`, address: "203.0.113.7", details: "{}" },
}));
const presented = ids.map((family) => ({
  ...{ eventId: family, family, generation: 1, redemption: bytes, client: "app" },
  ...{ confirmation: "", isProven: false, address: "203.0.113.7" },
}));
const family = {
  ...{ id, subject: "users/1", client: "app", scopes: ["a"], audiences: ["checkout"], epoch: 1 },
  ...{ device: "laptop", address: "203.0.113.7", confirmation: "", keyId: "key" },
};
const revocations = shorts.map((each, at) => ({
  ...{ id: each, kind: "session" as const, target: ids[at]!, epoch: 0 },
  ...{ owner: `users/${at % 3}`, ttlS: 3600 },
}));
const lease = { holder: "host/1", acknowledged: 9, reads: 1, expiresAt: Date.now() / 1000 };
const byTitle: Order = { column: "title", descending: false };
const everything = parseFilter("");

/** Every statement that a call waits for or that each replica repeats, by its subject. */
export const HOT: Readonly<Record<string, Hot>> = {
  "a group's advances": hot(advanceAnchors, "checkout", "r", moves),
  "one advance": hot(advanceAnchors, "checkout", "r", moves.slice(0, 1)),
  "a group's advances for another service": hot(advanceAnchors, "checkout", "r", moves, "catalog"),
  "a stream's acknowledged responses": hot(deleteSavedResponses, "checkout", moves),
  "a stream's missed responses": hot(readSavedResponses, "checkout", id, 2, 20),
  "a group's begins": hot(insertAnchors, "checkout", "r", begun),
  "an advance by version": hot(readAdvance, "checkout", id, 2),
  "a spilled state": hot(readSpill, "checkout", id, bytes),
  "a new spilled state": hot(
    insertSpill,
    "checkout",
    { sessionId: id, address: bytes, content: bytes },
    100,
  ),
  "a checkpoint": hot(readCheckpoint, "session", id),
  "a group's checkpoints": hot(upsertCheckpoints, "session", checkpoints),
  "an anchor": hot(readAnchor, "checkout", id),
  "a locked anchor": hot(readAnchor, "checkout", id, undefined, true),
  "a group's audit events": hot(insertAuditEvents, "token", events),

  "an entry": hot(readEntry, id, "users/1"),
  "a group's entries": hot(insertEntries, entries),
  "a list of sessions": hot(listEntries, "users/1", undefined, 26),
  "a later page of sessions": hot(listEntries, "users/1", id, 26),

  "an order": hot(readOrder, id, "users/1"),
  "a new order": hot(insertOrder, order),
  "a list of orders": hot(listOrders, "users/1", undefined, 26),
  "a later page of orders": hot(listOrders, "users/1", position, 26),
  "taking stock": hot(takeStock, lines),

  // The catalog has its real 3,201 products.
  "a product": hot(readProducts, [7n]),
  "the products of a basket": hot(readProducts, [7n, 8n, 300n]),
  "a changed product": mayScan(
    hot(updateProduct, 7n, ["title", "price_cents"], {
      ...{ title: "Moon", rating: "", genre: "", director: "", distributor: "", priceCents: 999n },
      ...{ runningTimeMinutes: 0, imdbRatingTenths: 0 },
    }),
    "catalog.feed",
  ),
  "changes of products": mayScan(hot(readChanges, 9_990n), "catalog.feed"),
  "a list of products": hot(
    listProducts,
    everything,
    { column: "id", descending: false },
    undefined,
    26,
  ),
  "products by title": hot(listProducts, everything, byTitle, undefined, 26),
  "a later page of products": hot(listProducts, everything, byTitle, { value: "M", id: 7n }, 26),
  "products by descending price": hot(
    listProducts,
    everything,
    { column: "price_cents", descending: true },
    undefined,
    26,
  ),
  "products by date": hot(
    listProducts,
    everything,
    { column: "release_date", descending: false },
    undefined,
    26,
  ),
  // A word may occur in any title, so each of the 3,201 rows is searched.
  "products whose title contains a word": mayScan(
    hot(listProducts, parseFilter('title:"moon"'), byTitle, undefined, 26),
    "catalog.product",
  ),

  "a service account": hot(readRow, "service_account", "a-7"),
  "a user": hot(readRow, '"user"', id),
  "a user by name": hot(readUserByName, "Ada"),
  "a new user": hot(insertRow, '"user"', { id, username: "ada", secret_hash: "" }),
  "a user's new secret": hot(updateRow, '"user"', id, "1", { secret_hash: "" }, true),
  "a secret's new hash": hot(upgradeSecretHash, id, "", ""),
  // One row per service; all of them are read.
  "scopes and audiences granted to users": mayScan(
    hot(readGrantedToUsers),
    "identity.scope",
    "identity.audience",
  ),
  "an issuer": hot(readIssuer, "https://7.example"),
  "a sign-in attempt": hot(
    countAttempts,
    [1, 2, 3].map((nth) => ({ key: Buffer.alloc(32, nth), windowS: 60 })),
    bytes,
  ),
  "a successful sign-in attempt": hot(
    refundAttempts,
    [1, 2, 3].map((nth) => Buffer.alloc(32, nth)),
    bytes,
  ),
  "an ended subject": hot(identityLeft.insertOutbox, {
    id: shorts[0]!,
    subject: "users/1",
    epoch: 2,
  }),
  "delivered ends of subjects": hot(identityDelivered.deleteOutbox, shorts),

  "a sign-in": hot(insertFamily, family, 60, 60),
  "the lock of a subject": hot(lockSubject, "users/1"),
  "a group's refreshes": hot(redeem, presented, 60),
  "one refresh": hot(redeem, presented.slice(0, 1), 60),
  "a sign-in to introspect": hot(readFamily, id),
  "a sign-in's owner": hot(readFamilyOwner, id),
  "a list of sign-ins": hot(listFamilies, "users/1", undefined, 26),
  "a later page of sign-ins": hot(listFamilies, "users/1", id, 26),
  "the end of a sign-in": hot(endFamilies, "users/1", { only: id }, "signedOut"),
  "the end of the other sign-ins": hot(endFamilies, "users/1", { except: id }, "signedOut"),
  "the end of all sign-ins": hot(endSubject, "users/1", 2),
  "ended sign-ins": hot(
    tokenOutbox.insertOutbox,
    shorts.map((each, at) => ({ id: each, family: ids[at]! })),
  ),
  "an undelivered end of a sign-in": hot(tokenOutbox.readOutboxOf, id),
  "delivered ends of sign-ins": hot(tokenOutbox.deleteOutbox, shorts),
  "single-use tokens": hot(
    spend,
    shorts.map((digest) => ({ digest, lifeS: 60 })),
  ),
  "a client's grants": hot(takeGrants, "serviceAccounts/a-7", 10, 6000),

  "new revocations": mayScan(hot(insertRevocations, revocations), "keys.feed"),
  "an owner's ended sessions": hot(countSessionRevocations, revocations),
  "new entries of the feed": mayScan(hot(readRevocations, 999_900n), "keys.feed"),
  "all of the feed": mayScan(hot(readRevocations, 0n), "keys.feed"),
  // The table has one row.
  "the lock of the feed": mayScan(hot(lockFeed), "keys.feed"),
  "a ring": hot(readRing, "a-7"),
  "the lock of a ring": hot(lockRing, "a-7"),
  "the versions of rings": hot(readVersions, ["a-7", "a-8", "a-9"]),
  "a ring's leases": hot(readLeases, "a-7"),
  "a lease": hot(upsertLease, "a-7", lease),
  "ended leases": hot(deleteLeases, "a-7", ["host/1", "host/2"]),
};

const JOB = "a job off the path of calls that reads a bounded batch or a small table";
const START = "once at startup";
const ADMIN = "rare calls of an administrator";
const ROTATION = "once per key rotation";

/** Statements without a plan test, and the reason. */
export const NOT_HOT: ReadonlyMap<Run, string> = new Map<Run, string>([
  [keepPartitions, JOB],
  [deleteOldAttempts, JOB],
  [deleteExpired, JOB],
  [deleteExpiredRevocations, JOB],
  [identityOutbox.readOutbox, JOB],
  [tokenOutbox.readOutbox, JOB],
  [readAudiences, JOB],
  [readForeignKeys, JOB],
  [rewrapKey, JOB],
  [lockSigningKeys, JOB],
  [deleteSigningKeys, JOB],
  [rewrapSigningKey, JOB],
  // A call reads them for an unknown refresh token key: at most once a second, and there are few.
  [readSigningKeys, JOB],
  [insertRing, START],
  [listAuditEvents, ADMIN],
  [listRows, ADMIN],
  [deleteRow, ADMIN],
  [insertSigningKey, ROTATION],
  [insertKey, ROTATION],
  [updateKey, ROTATION],
  [deleteKeys, ROTATION],
  [updateVersion, ROTATION],
]);

/** Files that query Postgres elsewhere: off the path of calls, or with statements of their callers. */
export const ELSEWHERE: Readonly<Record<string, string>> = {
  "services/catalog/seed.ts": START,
  "services/identity/seed.ts": START,
  "shared/anchors/migrate.ts": START,
  "shared/pg/migrate.ts": START,
  "shared/pg/notifications.ts": START,
  "shared/pg/serviceRole.ts": START,
  "shared/pg/transaction.ts": "begins and ends a transaction",
  "shared/pg/during.ts": "passes statements of its callers on",
  "shared/pg/pool.ts": "passes statements of its callers on",
};
