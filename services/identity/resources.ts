import { type Context, cutPage, pageSize } from "waybill";
import { type Db, during } from "waybill/postgres";
import { transaction } from "#shared/pg/transaction.ts";
import { actorOf } from "../auditLog/auditLog.ts";
import { IdentityErrors } from "./errors.ts";
import type { IdentityDependencies } from "./index.ts";
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

/** A kind of resource: its table, and the fields that callers can write. */
export interface Resource<Message, Row extends ResourceRow> {
  readonly table: Table;
  /** First segment of a resource name, such as `users` in `users/{uuid}`. */
  readonly collection: string;
  /** Prefix of the actions in audit events, such as `user` in `user.update`. */
  readonly kind: string;
  toMessage(row: Row): Message;
  /** The columns that callers can write, by the path of their field in an update mask. */
  readonly columns: Readonly<Record<string, (message: Message) => Columns>>;
  /**
   * Tells whether a change revokes every token issued to the resource. Set only where rows have an
   * epoch.
   */
  revokes?(paths: readonly string[], row: Row): boolean;
}

type Identified = { name: string; etag: string };

/** Reads one resource (AIP-131). @throws StatusError NOT_FOUND */
export async function getResource<Message, Row extends ResourceRow>(
  { db }: IdentityDependencies,
  resource: Resource<Message, Row>,
  name: string,
  context: Context,
): Promise<Message> {
  const row = await readRow<Row>(during(db, context), resource.table, idOf(resource, name));
  if (row === undefined) throw IdentityErrors.NOT_FOUND({ metadata: { name } });
  return resource.toMessage(row);
}

/** Reads a page of resources, ordered by id (AIP-132). */
export async function listResources<Message, Row extends ResourceRow>(
  { db, cursors }: IdentityDependencies,
  { table, toMessage }: Resource<Message, Row>,
  request: { pageSize: number; pageToken: string },
  context: Context,
): Promise<{ page: Message[]; nextPageToken: string }> {
  const { method } = context;
  const query = Buffer.alloc(0);
  const after = request.pageToken
    ? Buffer.from(await cursors.open(method, query, request.pageToken)).toString("utf8")
    : undefined;
  const size = pageSize(request.pageSize);
  const rows = await listRows<Row>(during(db, context), table, after, size + 1);
  const { page, last } = cutPage(rows, size);
  return {
    page: page.map(toMessage),
    nextPageToken: last ? cursors.seal(method, query, Buffer.from(last.id)) : "",
  };
}

/**
 * Creates a resource and its audit event in one transaction (AIP-133).
 *
 * @param more columns that callers cannot write, such as the hash of a secret
 * @throws StatusError ALREADY_EXISTS
 */
export async function createResource<Message, Row extends ResourceRow>(
  { db, audit }: IdentityDependencies,
  resource: Resource<Message, Row>,
  id: string,
  message: Message,
  context: Context,
  more: Columns = {},
): Promise<Message> {
  const { table, columns, toMessage } = resource;
  const written = Object.assign({}, ...Object.values(columns).map((of) => of(message)));
  return transaction(db, async (tx) => {
    const row = await insertRow<Row>(tx, table, { id, ...written, ...more });
    if (row === undefined) {
      throw IdentityErrors.ALREADY_EXISTS({ metadata: { name: nameOf(resource, id) } });
    }
    await audit.writeWith(tx, auditEntry(resource, context, "create", id));
    return toMessage(row);
  });
}

/**
 * Changes the fields that a mask names (AIP-134).
 *
 * @param mask paths of the fields to change; undefined or empty: all
 * @throws StatusError NOT_FOUND, ETAG_MISMATCH, FIELD_NOT_CHANGEABLE
 */
export async function updateResource<Message extends Identified, Row extends ResourceRow>(
  dependencies: IdentityDependencies,
  resource: Resource<Message, Row>,
  message: Message,
  mask: readonly string[] | undefined,
  context: Context,
): Promise<Message> {
  const { columns, revokes, toMessage } = resource;
  const paths = mask === undefined || mask.length === 0 ? Object.keys(columns) : mask;
  const unknown = paths.find((path) => !Object.hasOwn(columns, path));
  if (unknown !== undefined) {
    throw IdentityErrors.FIELD_NOT_CHANGEABLE({
      violations: [{ field: "update_mask", description: `${unknown} can't be changed` }],
    });
  }
  const row = await changeRow(dependencies, resource, context, {
    id: idOf(resource, message.name),
    etag: message.etag,
    columns: Object.assign({}, ...paths.map((path) => columns[path]!(message))),
    action: "update",
    revokes: (written) => revokes?.(paths, written) ?? false,
    details: { fields: paths.join(" ") },
  });
  return toMessage(row);
}

/**
 * Deletes a resource and revokes the tokens issued to it (AIP-135).
 *
 * @param etag the version to delete; empty: any
 * @throws StatusError NOT_FOUND, ETAG_MISMATCH
 */
export async function deleteResource<Message, Row extends ResourceRow>(
  { db, audit, outbox }: IdentityDependencies,
  resource: Resource<Message, Row>,
  { name, etag }: Identified,
  context: Context,
): Promise<void> {
  const id = idOf(resource, name);
  const revocations = await transaction(db, async (tx) => {
    const row = await deleteRow<Row & { epoch?: number }>(tx, resource.table, id, etag);
    if (row === undefined) throw await mismatch(tx, resource, id);
    await audit.writeWith(tx, auditEntry(resource, context, "delete", id));
    if (resource.revokes === undefined) return [];
    return [await outbox.put(tx, name, row.epoch! + 1)];
  });
  await outbox.deliver(revocations);
}

/** A change of one row. */
export interface RowChange<Row> {
  readonly id: string;
  /** The version to change; empty: any. */
  readonly etag: string;
  readonly columns: Columns;
  /** Suffix of the action in the audit event. */
  readonly action: string;
  /** Tells whether the change revokes every token issued to the resource. */
  revokes(written: Row): boolean;
  readonly details?: Record<string, string>;
}

/**
 * Changes a row, with its audit event and outbox entry in the same transaction. Where the change
 * revokes, settles once the feed and the token service have acknowledged the revocation.
 *
 * @throws StatusError NOT_FOUND, ETAG_MISMATCH
 */
export async function changeRow<Message, Row extends ResourceRow>(
  { db, audit, outbox }: IdentityDependencies,
  resource: Resource<Message, Row>,
  context: Context,
  { id, etag, columns, action, revokes, details }: RowChange<Row>,
): Promise<Row> {
  const { table } = resource;
  const revocations: OutboxRow[] = [];
  const changed = await transaction(db, async (tx) => {
    let row = await updateRow<Row & { epoch?: number }>(tx, table, id, etag, columns, false);
    if (row === undefined) throw await mismatch(tx, resource, id);
    if (revokes(row)) {
      // The first statement locks the row: no other transaction sees the row between the two.
      row = (await updateRow<Row & { epoch?: number }>(tx, table, id, "", {}, true))!;
      revocations.push(await outbox.put(tx, nameOf(resource, id), row.epoch!));
    }
    await audit.writeWith(tx, auditEntry(resource, context, action, id, details));
    return row;
  });
  await outbox.deliver(revocations);
  return changed;
}

type Named = Pick<Resource<never, never>, "table" | "collection" | "kind">;

/** Explains why a statement matched no row. */
async function mismatch(tx: Db, resource: Named, id: string): Promise<Error> {
  const metadata = { name: nameOf(resource, id) };
  const row = await readRow(tx, resource.table, id);
  return row === undefined
    ? IdentityErrors.NOT_FOUND({ metadata })
    : IdentityErrors.ETAG_MISMATCH({ metadata });
}

function auditEntry(
  resource: Named,
  context: Context,
  action: string,
  id: string,
  details: Record<string, string> = {},
) {
  const target = nameOf(resource, id);
  return { ...actorOf(context), action: `${resource.kind}.${action}`, target, details };
}

function idOf({ collection }: Named, name: string): string {
  return name.slice(collection.length + 1);
}

function nameOf({ collection }: Named, id: string): string {
  return `${collection}/${id}`;
}

/** Returns the fields that every resource has. */
export function commonFields(row: ResourceRow): {
  etag: string;
  createTime: Date;
  updateTime: Date;
} {
  return { etag: `${row.revision}`, createTime: row.created_at, updateTime: row.updated_at };
}
