import type { Handlers } from "waybill";
import type { Credentials } from "waybill/auth";
import type { Pool } from "waybill/postgres";
import type { KeysServiceService } from "#proto/waybill/keys/v1/keys.ts";
import type { AuditLog } from "../auditLog/auditLog.ts";
import { listAuditEvents } from "../auditLog/listAuditEvents.ts";
import type { RevocationsFeed } from "./feed.ts";
import { readRevocations } from "./readRevocations.ts";
import { revoke } from "./revoke.ts";
import { getRing } from "./rings/getRing.ts";
import { releaseLease } from "./rings/releaseLease.ts";
import { renewLease } from "./rings/renewLease.ts";
import type { Rings } from "./rings/rings.ts";
import { rotateRing } from "./rings/rotateRing.ts";
import { watchRing } from "./rings/watchRing.ts";
import type { Versions } from "./versions.ts";
import { watchRevocations } from "./watchRevocations.ts";

export interface KeysDependencies {
  db: Pool;
  rings: Rings;
  credentials: Credentials;
  versions: Versions;
  feed: RevocationsFeed;
  audit: AuditLog;
}

/** Leaves page tokens unsealed: only services receive them. */
const UNSEALED: Parameters<typeof listAuditEvents>[2] = {
  seal: (_method, _question, position) => Buffer.from(position).toString("utf8"),
  open: async (_method, _question, token) => Buffer.from(token),
};

export function keysHandlers(dependencies: KeysDependencies): Handlers<typeof KeysServiceService> {
  return {
    getRing: getRing(dependencies),
    watchRing: watchRing(dependencies),
    renewLease: renewLease(dependencies),
    releaseLease: releaseLease(dependencies),
    rotateRing: rotateRing(dependencies),
    revoke: revoke(dependencies),
    readRevocations: readRevocations(dependencies),
    watchRevocations: watchRevocations(dependencies),
    listAuditEvents: listAuditEvents(dependencies.db, "keys", UNSEALED),
  };
}
