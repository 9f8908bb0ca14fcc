import type { AccessToken } from "#shared/auth/tokens/claims.ts";
import { Groups } from "#shared/pg/groups.ts";
import type { Db } from "#shared/pg/pool.ts";
import { newUuid } from "#shared/runtime/ids.ts";
import type { Origin } from "#shared/server/frontProxy.ts";
import { type AuditRow, insertAuditEvents } from "./sql/insertAuditEvents.ts";

/** One change, for the record. Never give it a secret. */
export interface AuditEntry {
  /** What was done, such as `token.refresh`. */
  readonly action: string;
  /** `OK`, or the reason of the refusal. Default: `OK`. */
  readonly outcome?: string;
  /** Who did it. Default: nobody who is known. */
  readonly actor?: string;
  readonly client?: string;
  /** What it was done to: a resource name. */
  readonly target?: string;
  readonly address?: string;
  readonly details?: Record<string, string>;
}

/** Who does something, and from where, as far as his call shows it. */
export function actorOf(context: {
  caller: { token?: AccessToken; service?: string };
  origin: Origin;
}): Pick<AuditEntry, "actor" | "client" | "address"> {
  const { token, service } = context.caller;
  const { address } = context.origin;
  if (token !== undefined) return { actor: token.subject, client: token.client, address };
  return { actor: service === undefined ? "" : `services/${service}`, address };
}

/** The audit events of one schema: written in groups, each awaited by who caused it. */
export class AuditLog {
  readonly #schema: string;
  readonly #groups: Groups<AuditRow, undefined>;

  constructor(db: Db, schema: string) {
    this.#schema = schema;
    this.#groups = new Groups(async (rows) => {
      await insertAuditEvents(db, schema, rows);
      return rows.map(() => undefined);
    });
  }

  /** Settles when the event is durable. */
  async write(entry: AuditEntry): Promise<void> {
    await this.#groups.add(toRow(entry));
  }

  /** Writes events in a transaction of the caller's: they are there exactly when its changes are. */
  async writeWith(tx: Db, ...entries: AuditEntry[]): Promise<void> {
    await insertAuditEvents(tx, this.#schema, entries.map(toRow));
  }
}

/** A row of a new event. */
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
