import type { Logger } from "pino";
import type { Anchorage, Contract, ResponseCache, RingWatcher, Server } from "waybill";
import type {
  Assertions,
  Credentials,
  loadTls,
  RevocationFeed,
  ServiceTokens,
  TokenAuthentication,
} from "waybill/auth";
import type { ClientOptions } from "waybill/client";
import type { Pool } from "waybill/postgres";
import type { Releasers } from "#shared/runtime/releasers.ts";
import type { Config, Role } from "./config.ts";

/** What a replica gives each service that it starts. */
export interface ReplicaDependencies {
  readonly config: Config;
  readonly log: Logger;
  readonly contract: Contract;
  readonly server: Server;
  readonly releasers: Releasers;
  readonly credentials: Credentials;
  readonly tls: ReturnType<typeof loadTls> | undefined;
  /** Where this replica listens. */
  readonly address: string;
  readonly feed: RevocationFeed;
  /** Undefined where no access token is taken. */
  readonly authentication: TokenAuthentication | undefined;
  /** The role's own pool, let go at the end. */
  database(role: Role): Pool;
  /** Makes a role's own cache of answers; undefined: it keeps none. */
  cacheOf(role: Role): ResponseCache | undefined;
  /** The ring of one of the role's audiences; the replica is ready when it has it. */
  ringOf(role: Role, audience?: string): RingWatcher;
  /** Where the role's sessions are anchored: in its own schema. */
  anchorage(role: Role, db: Pool): Anchorage;
  assertions(role: Role): Assertions;
  /** The tokens that a role calls others with; undefined where none is taken. */
  serviceTokens(role: Role): ServiceTokens | undefined;
  /** How other services are called. */
  clientOptions(): ClientOptions;
  /** The replica is not ready before this is. */
  awaits(ready: Promise<unknown>): void;
}
