import type { Logger } from "pino";
import type { Assertions } from "#shared/auth/assertions.ts";
import type { TokenAuthentication } from "#shared/auth/authentication.ts";
import type { Credentials } from "#shared/auth/credentials/credentials.ts";
import type { Tls } from "#shared/auth/credentials/tls.ts";
import type { RevocationFeed } from "#shared/auth/revocationFeed.ts";
import type { ServiceTokens } from "#shared/auth/serviceTokens.ts";
import type { ResponseCache } from "#shared/cache/responseCache.ts";
import type { ClientOptions } from "#shared/client/client.ts";
import type { Contract } from "#shared/contract/contract.ts";
import type { Pool } from "#shared/pg/pool.ts";
import type { RingWatcher } from "#shared/rings/ringWatcher.ts";
import type { Releasers } from "#shared/runtime/releasers.ts";
import type { Server } from "#shared/server/server.ts";
import type { Anchorage } from "#shared/session/options.ts";
import type { Config, Role } from "./config.ts";

/** What a replica gives each service that it starts. */
export interface ReplicaParts {
  readonly config: Config;
  readonly log: Logger;
  readonly contract: Contract;
  readonly server: Server;
  readonly releasers: Releasers;
  readonly credentials: Credentials;
  readonly tls: Tls | undefined;
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
