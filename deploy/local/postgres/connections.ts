import pg from "pg";
import { ConfigError, Failure } from "../../../services/replica/failure.ts";

/** Most connections of each role of a replica. */
export const CONNECTIONS_A_ROLE = 3;
/** Connections reserved for migrations and for people. */
const RESERVED_CONNECTIONS = 20;

/** The replicas that Postgres has connections for. */
export interface Budget {
  readonly maxConnections: number;
  /** Undefined when no role needs a database. */
  readonly mostReplicas: number | undefined;
}

/** Reads the connection limit from Postgres. @param roles number of roles of a replica that connect */
export async function readBudget(databaseUrl: string, roles: number): Promise<Budget> {
  const client = new pg.Client({ connectionString: databaseUrl, connectionTimeoutMillis: 5000 });
  try {
    await client.connect();
    const { rows } = await client.query<{ max: number }>(
      "select current_setting('max_connections')::int4 as max",
    );
    return budget(rows[0]!.max, roles);
  } catch (error) {
    throw new Failure(`cannot read max_connections from Postgres: ${error}`);
  } finally {
    await client.end();
  }
}

export function budget(maxConnections: number, roles: number): Budget {
  const free = Math.max(0, maxConnections - RESERVED_CONNECTIONS);
  const mostReplicas = roles === 0 ? undefined : Math.floor(free / (CONNECTIONS_A_ROLE * roles));
  return { maxConnections, mostReplicas };
}

/** Refuses more replicas than Postgres has connections for. @throws ConfigError naming the limit */
export function checkReplicas(replicas: number, { maxConnections, mostReplicas }: Budget): void {
  if (mostReplicas === undefined || replicas <= mostReplicas) return;
  throw new ConfigError(
    `${replicas} replicas need more connections than Postgres has (max_connections = ${maxConnections}): choose ${mostReplicas} at most, or raise max_connections`,
  );
}
