import type { KeysServiceService } from "#proto/waybill/keys/v1/keys.ts";
import type { Handlers } from "#shared/contract/handlers.ts";
import { listAuditEvents } from "../auditLog/listAuditEvents.ts";
import { getRing } from "./getRing.ts";
import type { KeysParts } from "./parts.ts";
import { readRevocations } from "./readRevocations.ts";
import { releaseLease } from "./releaseLease.ts";
import { renewLease } from "./renewLease.ts";
import { revoke } from "./revoke.ts";
import { rotateRing } from "./rotateRing.ts";
import { watchRevocations } from "./watchRevocations.ts";
import { watchRing } from "./watchRing.ts";

/** Page tokens as they are: only services see them. */
const UNSEALED: Parameters<typeof listAuditEvents>[2] = {
  seal: (_method, _question, position) => Buffer.from(position).toString("utf8"),
  open: async (_method, _question, token) => Buffer.from(token),
};

export function keysHandlers(parts: KeysParts): Handlers<typeof KeysServiceService> {
  return {
    getRing: getRing(parts),
    watchRing: watchRing(parts),
    renewLease: renewLease(parts),
    releaseLease: releaseLease(parts),
    rotateRing: rotateRing(parts),
    revoke: revoke(parts),
    readRevocations: readRevocations(parts),
    watchRevocations: watchRevocations(parts),
    listAuditEvents: listAuditEvents(parts.db, "keys", UNSEALED),
  };
}
