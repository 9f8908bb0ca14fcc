import type { Context } from "waybill";
import type { AccessToken } from "waybill/auth";
import type { Db } from "waybill/postgres";
import { GroupCommit } from "#shared/pg/groupCommit.ts";
import { newUuid } from "#shared/runtime/ids.ts";
import { type AuditRow, insertAuditEvents } from "./sql/insertAuditEvents.ts";

/** A change to record. Must not contain a secret. */
export interface AuditEntry {
  /** Action, such as `token.refresh`. */
  readonly action: string;
  /** `OK`, or the reason of the refusal. Default: `OK`. */
  readonly outcome?: string;
  /** Subject or service that made the change. Default: unknown. */
  readonly actor?: string;
  readonly client?: string;
  /** Resource name of the changed object. */
  readonly target?: string;
  readonly address?: string;
  readonly details?: Record<string, string>;
}

/** Returns the actor, client and address of a call. */
export function actorOf(context: {
  caller: { token?: AccessToken; service?: string };
  origin: Context["origin"];
}): Pick<AuditEntry, "actor" | "client" | "address"> {
  const { token, service } = context.caller;
  const { address } = context.origin;
  if (token !== undefined) return { actor: token.subject, client: token.client, address };
  return { actor: service === undefined ? "" : `services/${service}`, address };
}

/** Writes the audit events of one schema. Groups concurrent events into one statement. */
export class AuditLog {
  readonly #schema: string;
  readonly #groups: GroupCommit<AuditRow, undefined>;

  constructor(db: Db, schema: string) {
    this.#schema = schema;
    this.#groups = new GroupCommit(async (rows) => {
      await insertAuditEvents(db, schema, rows);
      return rows.map(() => undefined);
    });
  }

  /** Writes an event. Settles when the event is durable. */
  async write(entry: AuditEntry): Promise<void> {
    await this.#groups.add(toRow(entry));
  }

  /** Writes events in the caller's transaction, so that they commit together with its changes. */
  async writeWith(tx: Db, ...entries: AuditEntry[]): Promise<void> {
    await insertAuditEvents(tx, this.#schema, entries.map(toRow));
  }
}

function toRow(entry: AuditEntry): AuditRow {
  return {
    id: newUuid(),
    action: entry.action,
    outcome: entry.outcome ?? "OK",
    actor: entry.actor ?? "",
    client: entry.client ?? "",
    target: entry.target ?? "",
    address: entry.address ?? "",
    details: JSON.stringify(entry.details ?? {}),
  };
}
