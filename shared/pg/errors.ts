import { Errors, type StatusError } from "../errors.ts";

type Kind = "unavailable" | "conflict" | "data";

/** By SQLSTATE, or by its class where the entry has two characters. PostgreSQL 18, appendix A. */
const SQLSTATES: Record<string, Kind> = {
  "08": "unavailable", // connection_exception
  // Only values from a request cause these: the services check their own.
  "22001": "data", // string_data_right_truncation
  "22003": "data", // numeric_value_out_of_range
  "22007": "data", // invalid_datetime_format
  "22008": "data", // datetime_field_overflow
  "22021": "data", // character_not_in_repertoire: NUL, or invalid UTF-8
  "22025": "data", // invalid_escape_sequence, in a pattern
  "22032": "data", // invalid_json_text
  "22P02": "data", // invalid_text_representation
  "22P03": "data", // invalid_binary_representation
  "22P05": "data", // untranslatable_character: NUL in JSON
  "25006": "unavailable", // read_only_sql_transaction: a standby, or during a failover
  "40001": "conflict", // serialization_failure
  "40P01": "conflict", // deadlock_detected
  "25P03": "unavailable", // idle_in_transaction_session_timeout
  "25P04": "unavailable", // transaction_timeout
  "53": "unavailable", // insufficient_resources: connections, memory, disk
  "54000": "data", // program_limit_exceeded: text too long for its index
  "55P03": "conflict", // lock_not_available
  "57014": "unavailable", // query_canceled, by statement_timeout
  "57P01": "unavailable", // admin_shutdown
  "57P02": "unavailable", // crash_shutdown
  "57P03": "unavailable", // cannot_connect_now
  "57P04": "unavailable", // database_dropped: it may be restored
  "57P05": "unavailable", // idle_session_timeout
};

/** System calls on the network. A file's ENOENT has another one; a TLS error has none. */
const NETWORK_CALLS = new Set([undefined, "connect", "read", "write", "shutdown", "getaddrinfo"]);

/** Codes of network errors. */
const NETWORK = new Set([
  "ECONNREFUSED",
  "ECONNRESET",
  "ECONNABORTED",
  "EPIPE",
  "ETIMEDOUT",
  "ENOENT", // a Unix socket that does not exist
  "EADDRNOTAVAIL",
  "EHOSTDOWN",
  "EHOSTUNREACH",
  "ENETDOWN",
  "ENETUNREACH",
  "ENOTFOUND",
  "EAI_AGAIN",
  "EAI_FAIL",
]);

/** Node's codes for a write to a closed connection. */
const CLOSED = new Set(["ERR_STREAM_DESTROYED", "ERR_STREAM_WRITE_AFTER_END", "ERR_SOCKET_CLOSED"]);

/** Messages of pg's own errors, which have no codes. */
const CLIENT_MESSAGES = [
  "timeout exceeded when trying to connect",
  "Connection terminated",
  "Query read timeout",
  "Client has encountered a connection error",
  "Client was closed",
  "Cannot use a pool after calling end",
];

/** Maps a database error to a status by its SQLSTATE. Undefined: another error, or a bug of the service. */
export function databaseError(error: unknown): StatusError | undefined {
  switch (kindOf(error)) {
    case "unavailable":
      return Errors.DATABASE_UNAVAILABLE({ cause: error, retryAfterMs: 1000 });
    case "conflict":
      return Errors.CONFLICT({ cause: error, retryAfterMs: 50 });
    case "data":
      // Postgres's message quotes the value.
      return Errors.INVALID_FIELD({
        cause: `Postgres refused a value: SQLSTATE ${sqlStateOf(error)}`,
      });
    default:
      return undefined;
  }
}

/** Returns whether an error shows that the database is unavailable, not only for one statement. */
export function isUnavailable(error: unknown): boolean {
  return kindOf(error) === "unavailable" && sqlStateOf(error) !== "57014";
}

/**
 * Returns the SQLSTATE of an error that Postgres sent. It is recognized by its members, not its class: a program may
 * have another copy of pg than this package.
 */
export function sqlStateOf(error: unknown): string | undefined {
  if (!(error instanceof Error)) return undefined;
  const { code, severity } = error as { code?: unknown; severity?: unknown };
  const isSent = typeof severity === "string" && typeof code === "string";
  return isSent && /^[0-9A-Z]{5}$/.test(code) ? code : undefined;
}

/** Most wrapped errors that are inspected: an error may wrap itself. */
const MAX_WRAPPED = 8;

/** @param left number of errors that may still be inspected */
function kindOf(error: unknown, left = MAX_WRAPPED): Kind | undefined {
  const sqlState = sqlStateOf(error);
  if (sqlState !== undefined) return SQLSTATES[sqlState] ?? SQLSTATES[sqlState.slice(0, 2)];
  if (!(error instanceof Error) || left === 0) return undefined;
  const { code, syscall } = error as NodeJS.ErrnoException;
  if (isNetwork(code, syscall) || isClientMessage(error)) return "unavailable";
  // `fetch` throws this when it cannot reach a server, which is not the database.
  if (error instanceof TypeError) return undefined;
  // One error for each address that was tried, or the error of a query builder around pg's.
  const wrapped = error instanceof AggregateError ? error.errors : [error.cause];
  for (const each of wrapped.slice(0, left)) {
    const kind = kindOf(each, left - 1);
    if (kind !== undefined) return kind;
  }
  return undefined;
}

function isNetwork(code: string | undefined, syscall: string | undefined): boolean {
  if (code === undefined) return false;
  // For any reason, such as EACCES or EMFILE.
  if (syscall === "connect" || CLOSED.has(code)) return true;
  return NETWORK.has(code) && NETWORK_CALLS.has(syscall);
}

function isClientMessage({ message }: Error): boolean {
  return CLIENT_MESSAGES.some((text) => message.startsWith(text));
}
