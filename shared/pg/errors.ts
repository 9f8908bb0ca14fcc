import pg from "pg";
import { Errors, type StatusError } from "../errors/errors.ts";

type Kind = "unavailable" | "conflict";

/** By SQLSTATE, or by its class where the entry has two characters. PostgreSQL 18, appendix A. */
const SQLSTATES: Record<string, Kind> = {
  "08": "unavailable", // connection_exception
  "25006": "unavailable", // read_only_sql_transaction: a standby, or a failover under way
  "40001": "conflict", // serialization_failure
  "40P01": "conflict", // deadlock_detected
  "53300": "unavailable", // too_many_connections
  "55P03": "conflict", // lock_not_available
  "57014": "unavailable", // query_canceled, by statement_timeout
  "57P01": "unavailable", // admin_shutdown
  "57P02": "unavailable", // crash_shutdown
  "57P03": "unavailable", // cannot_connect_now
  "57P05": "unavailable", // idle_session_timeout
};

/** By the code of the network's error. */
const NETWORK = new Set([
  "ECONNREFUSED",
  "ECONNRESET",
  "EPIPE",
  "ETIMEDOUT",
  "ENOENT",
  "EHOSTUNREACH",
  "ENOTFOUND",
  "EAI_AGAIN",
]);

/** pg has no codes for what it finds out itself. */
const CLIENT_MESSAGES = [
  "timeout exceeded when trying to connect",
  "Connection terminated",
  "Query read timeout",
  "Client has encountered a connection error",
  "Client was closed",
  "Cannot use a pool after calling end",
];

/** The status for an error of the database; undefined when it is none, or a fault of ours. */
export function databaseError(error: unknown): StatusError | undefined {
  switch (kindOf(error)) {
    case "unavailable":
      return Errors.DATABASE_UNAVAILABLE({ cause: error, retryAfterMs: 1000 });
    case "conflict":
      return Errors.CONFLICT({ cause: error, retryAfterMs: 50 });
    default:
      return undefined;
  }
}

/** Whether an error says that the database is away, and not only for one statement. */
export function isAway(error: unknown): boolean {
  const isItsOwn = error instanceof pg.DatabaseError && error.code === "57014";
  return kindOf(error) === "unavailable" && !isItsOwn;
}

function kindOf(error: unknown): Kind | undefined {
  if (error instanceof pg.DatabaseError) {
    const { code = "" } = error;
    return SQLSTATES[code] ?? SQLSTATES[code.slice(0, 2)];
  }
  if (!(error instanceof Error)) return undefined;
  const { code } = error as NodeJS.ErrnoException;
  if (code !== undefined && NETWORK.has(code)) return "unavailable";
  if (error instanceof AggregateError) return kindOf(error.errors[0]);
  return CLIENT_MESSAGES.some((text) => error.message.startsWith(text)) ? "unavailable" : undefined;
}
