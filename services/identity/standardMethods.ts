import type { Context } from "#shared/contract/handlers.ts";
import { during } from "#shared/pg/during.ts";
import { transaction } from "#shared/pg/transaction.ts";
import { cutPage, pageSize } from "#shared/server/pagination.ts";
import { actorOf } from "../auditLog/auditLog.ts";
import { IdentityErrors } from "./errors.ts";
import type { IdentityParts } from "./parts.ts";
import type { OutboxRow } from "./sql/readOutbox.ts";
import {
  type Columns,
  deleteRow,
  insertRow,
  listRows,
  type ResourceRow,
  readRow,
  type Table,
  updateRow,
} from "./sql/rows.ts";

/** A kind of resource: where it is kept, and what of it can be changed. */
export interface Resource<Message, Row extends ResourceRow> {
  readonly table: Table;
  /** The collection in its names: `users` of `users/{uuid}`. */
  readonly collection: string;
  /** What audit events call it. */
  readonly kind: string;
  toMessage(row: Row): Message;
  /** The columns that a caller may write, by the path of their field in an update mask. */
  readonly columns: Readonly<Record<string, (message: Message) => Columns>>;
  /** Whether a change ends everything that was issued to it. Only for rows with an epoch. */
  revokes?(paths: readonly string[], row: Row): boolean;
}

/** The standard methods of a kind of resource (AIP-131 to AIP-135). */
export class StandardMethods<
  Message extends { name: string; etag: string },
  Row extends ResourceRow,
> {
  readonly #resource: Resource<Message, Row>;
  readonly #parts: IdentityParts;

  constructor(resource: Resource<Message, Row>, parts: IdentityParts) {
    this.#resource = resource;
    this.#parts = parts;
  }

  /** @throws StatusError NOT_FOUND */
  async get(name: string, context: Context): Promise<Message> {
    const { table, toMessage } = this.#resource;
    const row = await readRow<Row>(during(this.#parts.db, context), table, this.#idOf(name));
    if (row === undefined) throw IdentityErrors.NOT_FOUND({ metadata: { name } });
    return toMessage(row);
  }

  async list(
    { pageSize: asked, pageToken }: { pageSize: number; pageToken: string },
    context: Context,
  ): Promise<{ page: Message[]; nextPageToken: string }> {
    const { db, cursors } = this.#parts;
    const { method } = context;
    const question = Buffer.alloc(0);
    const after = pageToken
      ? Buffer.from(await cursors.open(method, question, pageToken)).toString("utf8")
      : undefined;
    const size = pageSize(asked);
    const rows = await listRows<Row>(during(db, context), this.#resource.table, after, size + 1);
    const { page, last } = cutPage(rows, size);
    return {
      page: page.map((row) => this.#resource.toMessage(row)),
      nextPageToken: last ? cursors.seal(method, question, Buffer.from(last.id)) : "",
    };
  }

  /**
   * @param more columns besides those that callers write
   * @throws StatusError ALREADY_EXISTS
   */
  async create(
    id: string,
    message: Message,
    context: Context,
    more: Columns = {},
  ): Promise<Message> {
    const { table, columns, toMessage } = this.#resource;
    const written = Object.assign({}, ...Object.values(columns).map((of) => of(message)));
    return transaction(this.#parts.db, async (tx) => {
      const row = await insertRow<Row>(tx, table, { id, ...written, ...more });
      if (row === undefined) {
        throw IdentityErrors.ALREADY_EXISTS({ metadata: { name: this.#nameOf(id) } });
      }
      await this.#record(tx, context, "create", id);
      return toMessage(row);
    });
  }

  /**
   * @param mask the paths to change; undefined: all
   * @throws StatusError NOT_FOUND, ETAG_MISMATCH, FIELD_NOT_CHANGEABLE
   */
  async update(
    message: Message,
    mask: readonly string[] | undefined,
    context: Context,
  ): Promise<Message> {
    const { columns, revokes } = this.#resource;
    const paths = mask === undefined || mask.length === 0 ? Object.keys(columns) : mask;
    const unknown = paths.find((path) => !Object.hasOwn(columns, path));
    if (unknown !== undefined) {
      throw IdentityErrors.FIELD_NOT_CHANGEABLE({
        violations: [{ field: "update_mask", description: `${unknown} can't be changed` }],
      });
    }
    const written = Object.assign({}, ...paths.map((path) => columns[path]!(message)));
    const id = this.#idOf(message.name);
    const row = await this.change(context, id, message.etag, written, "update", {
      newEpoch: (before) => revokes?.(paths, before) ?? false,
      details: { fields: paths.join(" ") },
    });
    return this.#resource.toMessage(row);
  }

  /** @throws StatusError NOT_FOUND, ETAG_MISMATCH */
  async delete(name: string, etag: string, context: Context): Promise<void> {
    const { table, revokes } = this.#resource;
    const { db, outbox } = this.#parts;
    const id = this.#idOf(name);
    const left = await transaction(db, async (tx) => {
      const row = await deleteRow<Row & { epoch?: number }>(tx, table, id, etag);
      if (row === undefined) throw await this.#absence(tx, id);
      await this.#record(tx, context, "delete", id);
      if (revokes === undefined) return [];
      return [await outbox.put(tx, this.#nameOf(id), row.epoch! + 1)];
    });
    await outbox.deliver(left);
  }

  /**
   * Changes a row, notes it, and ends what was issued to it, if that is what the change does.
   *
   * @param how what it does, as audit events call it
   */
  async change(
    context: Context,
    id: string,
    etag: string,
    columns: Columns,
    how: string,
    options: { newEpoch: (written: Row) => boolean; details?: Record<string, string> },
  ): Promise<Row> {
    const { table } = this.#resource;
    const { db, outbox } = this.#parts;
    const left: OutboxRow[] = [];
    const changed = await transaction(db, async (tx) => {
      let row = await updateRow<Row & { epoch?: number }>(tx, table, id, etag, columns, false);
      if (row === undefined) throw await this.#absence(tx, id);
      if (options.newEpoch(row)) {
        // The row is locked by the first statement: nobody sees it in between.
        row = (await updateRow<Row & { epoch?: number }>(tx, table, id, "", {}, true))!;
        left.push(await outbox.put(tx, this.#nameOf(id), row.epoch!));
      }
      await this.#record(tx, context, how, id, options.details);
      return row;
    });
    await outbox.deliver(left);
    return changed;
  }

  async #absence(db: Parameters<typeof readRow>[0], id: string): Promise<Error> {
    const metadata = { name: this.#nameOf(id) };
    const row = await readRow<Row>(db, this.#resource.table, id);
    return row === undefined
      ? IdentityErrors.NOT_FOUND({ metadata })
      : IdentityErrors.ETAG_MISMATCH({ metadata });
  }

  #record(
    tx: Parameters<typeof readRow>[0],
    context: Context,
    how: string,
    id: string,
    details: Record<string, string> = {},
  ): Promise<void> {
    const action = `${this.#resource.kind}.${how}`;
    const target = this.#nameOf(id);
    return this.#parts.audit.writeWith(tx, { ...actorOf(context), action, target, details });
  }

  #idOf(name: string): string {
    return name.slice(this.#resource.collection.length + 1);
  }

  #nameOf(id: string): string {
    return `${this.#resource.collection}/${id}`;
  }
}

/** What every resource's message has of its row. */
export function common(row: ResourceRow): { etag: string; createTime: Date; updateTime: Date } {
  return { etag: `${row.revision}`, createTime: row.created_at, updateTime: row.updated_at };
}
