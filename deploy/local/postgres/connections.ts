import pg from "pg";
import { ConfigError, Failure } from "../../../services/replica/failure.ts";

/** Connections that each role of a replica may hold. */
export const CONNECTIONS_A_ROLE = 3;
/** Connections of Postgres that are kept for migrations and for people. */
const RESERVED_CONNECTIONS = 20;

/** What Postgres has connections for. */
export interface Budget {
  readonly maxConnections: number;
  /** Undefined when no role needs a database. */
  readonly mostReplicas: number | undefined;
}

/** Asks Postgres how many connections it takes. @param roles how many roles of a replica connect */
export async function readBudget(databaseUrl: string, roles: number): Promise<Budget> {
  const client = new pg.Client({ connectionString: databaseUrl, connectionTimeoutMillis: 5000 });
  try {
    await client.connect();
    const { rows } = await client.query<{ max: number }>(
      "select current_setting('max_connections')::int4 as max",
    );
    return budget(rows[0]!.max, roles);
  } catch (error) {
    throw new Failure(`Postgres does not say how many connections it takes: ${error}`);
  } finally {
    await client.end();
  }
}

/** The rule, from Postgres's own limit. */
export function budget(maxConnections: number, roles: number): Budget {
  const free = Math.max(0, maxConnections - RESERVED_CONNECTIONS);
  const mostReplicas = roles === 0 ? undefined : Math.floor(free / (CONNECTIONS_A_ROLE * roles));
  return { maxConnections, mostReplicas };
}

/**
 * Past what Postgres has connections for, calls would fail: so it is refused.
 *
 * @throws Failure naming the limit
 */
export function checkReplicas(replicas: number, { maxConnections, mostReplicas }: Budget): void {
  if (mostReplicas === undefined || replicas <= mostReplicas) return;
  throw new ConfigError(
    `${replicas} replicas need more connections than Postgres takes (max_connections = ${maxConnections}): choose ${mostReplicas} at most, or raise max_connections`,
  );
}
