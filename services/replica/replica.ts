import { setTimeout as delay } from "node:timers/promises";
import type { Logger } from "pino";
import { type Contract, loadContract, Server } from "waybill";
import { loadCredentials, loadTls, serviceAuthentication } from "waybill/auth";
import { createPool } from "waybill/postgres";
import { MAX_SKEW_S } from "#shared/auth/tokens/accessTokens.ts";
import { Releasers } from "#shared/runtime/releasers.ts";
import { startCatalog } from "../catalog/start.ts";
import { startCheckout } from "../checkout/start.ts";
import { startIdentity } from "../identity/start.ts";
import { startKeys } from "../keys/start.ts";
import { startSession } from "../session/start.ts";
import { startToken } from "../token/start.ts";
import type { Config } from "./config/config.ts";
import { Leases } from "./leases.ts";
import {
  type KeysDependencies,
  type ReplicaState,
  replicaDependencies,
} from "./replicaDependencies.ts";

const CONTRACT = new URL("../../proto/gen/image.binpb", import.meta.url);

/** Services that reflection lists on every replica, whatever its roles. */
const PUBLIC_SERVICES = [
  "waybill.identity.v1.IdentityService",
  "waybill.token.v1.TokenService",
  "waybill.session.v1.SessionService",
  "waybill.catalog.v1.CatalogService",
  "waybill.checkout.v1.CheckoutService",
];

/** One running replica. */
export interface Replica {
  /** Host and port. */
  readonly address: string;
  /** Settles when the replica has every ring and key that it needs and reports SERVING. */
  readonly ready: Promise<void>;
  /** Drains the server, then releases its dependencies. */
  stop(): Promise<void>;
}

/** Starts a replica that serves the config's roles. */
export async function startReplica(config: Config, log: Logger): Promise<Replica> {
  const releasers = new Releasers();
  try {
    return await start(keysDependencies(config, log, releasers));
  } catch (error) {
    await releasers.release();
    throw error;
  }
}

function keysDependencies(config: Config, log: Logger, releasers: Releasers): KeysDependencies {
  const contract = loadContract(CONTRACT);
  const credentials = loadCredentials(config.credentialsDir);
  const tls = config.tlsDir === undefined ? undefined : loadTls(config.tlsDir);
  const server = new Server({
    contract,
    credentials: tls?.server,
    log,
    authenticate: serviceAuthentication(credentials),
    frontProxySecret: config.frontProxySecret,
    maxConnectionAgeMs: config.maxConnectionAgeMs,
    reflect: PUBLIC_SERVICES,
  });
  return {
    config,
    log,
    contract,
    server,
    releasers,
    credentials,
    tls,
    longestSessionS: longestSessionS(contract, config),
    database(role, { url, connections, prepare }) {
      const pool = createPool(url, { max: connections, name: `waybill-${role}`, prepare });
      releasers.push(`the pool of ${role}`, () => pool.end());
      return pool;
    },
  };
}

async function start(dependencies: KeysDependencies): Promise<Replica> {
  const { config, server, releasers, log } = dependencies;
  const ownKeys = config.keys && startKeys(dependencies, config.keys);

  // The other services may call this replica itself, so they start when its port is known.
  const port = await server.listen(config.listen);
  releasers.push("the server", () => server.drain());
  if (config.probe !== undefined) await server.listenForProbes(config.probe);
  const address = config.listen.replace(/:\d+$/, `:${port}`);

  const awaited: Promise<unknown>[] = ownKeys === undefined ? [] : [ownKeys.ready];
  const leases = new Leases((areHeld) => server.serving(areHeld));
  const keysTarget = config.keysAddress ?? address;
  const tokenTarget = config.token === undefined ? config.tokenAddress : address;
  const shared = { address, awaited, leases, keysTarget, tokenTarget, ownKeys };
  startServices({ ...dependencies, ...shared });
  return {
    address,
    ready: Promise.all(awaited).then(() => leases.ready()),
    async stop() {
      leases.stop();
      await delay(config.drainDelayMs);
      await server.drain();
      const failures = await releasers.release();
      for (const err of failures) {
        log.error({ err }, "a dependency failed to close; the replica exits without it");
      }
    },
  };
}

/** Starts the services of the replica's roles, except the key service. */
function startServices(state: ReplicaState): void {
  const { roles, identity, token, session, catalog, checkout } = state.config;
  const others = roles.filter((role) => role !== "keys");
  // Only token and identity may revoke more than sessions, so their credentials read the whole feed.
  const service = others.find((role) => role === "token" || role === "identity") ?? others[0];
  if (service === undefined) return;
  const replica = replicaDependencies(state, service);
  if (identity) startIdentity(replica, identity);
  if (token) startToken(replica, token);
  if (session) startSession(replica, session);
  if (catalog) startCatalog(replica, catalog);
  if (checkout) startCheckout(replica, checkout);
}

function longestSessionS(contract: Contract, config: Config): number {
  const sessions = contract.methods.map((method) => method.session?.absoluteS ?? 0);
  return Math.max(config.longestSessionS, config.accessTokenLifeS, ...sessions) + 2 * MAX_SKEW_S;
}
