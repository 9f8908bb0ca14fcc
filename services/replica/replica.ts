import { hostname } from "node:os";
import { setTimeout as delay } from "node:timers/promises";
import type { Logger } from "pino";
import { loadContract, RingWatcher, Server } from "waybill";
import {
  AccessTokens,
  Assertions,
  JwksWatcher,
  loadCredentials,
  loadTls,
  RevocationFeed,
  ServiceTokens,
  serviceAuthentication,
  TokenAuthentication,
} from "waybill/auth";
import { Anchors, createPool, SavedResponses, savedAudience } from "waybill/postgres";
import { every, untilDone } from "#shared/runtime/periodic.ts";
import { Releasers } from "#shared/runtime/releasers.ts";
import { startCatalog } from "../catalog/start.ts";
import { startCheckout } from "../checkout/start.ts";
import { startIdentity } from "../identity/start.ts";
import { startKeys } from "../keys/start.ts";
import { startSession } from "../session/start.ts";
import { startToken } from "../token/start.ts";
import { cacheOf } from "./caches.ts";
import type { Config, Role } from "./config.ts";
import { Leases } from "./leases.ts";
import { longestSessionS } from "./longestSession.ts";
import type { ReplicaDependencies } from "./replicaDependencies.ts";

const MINUTE_MS = 60_000;

const CONTRACT = new URL("../../proto/gen/image.binpb", import.meta.url);

/** Public services: what reflection shows on every replica, whatever its roles. */
const PUBLIC_SERVICES = [
  "waybill.identity.v1.IdentityService",
  "waybill.token.v1.TokenService",
  "waybill.session.v1.SessionService",
  "waybill.catalog.v1.CatalogService",
  "waybill.checkout.v1.CheckoutService",
];

/** Who gives the leases of this process back. */
const OWN = { actor: "services/keys" };

const STARTS: Readonly<Record<Exclude<Role, "keys">, (replica: ReplicaDependencies) => void>> = {
  identity: startIdentity,
  token: startToken,
  session: startSession,
  catalog: startCatalog,
  checkout: startCheckout,
};

/** One running replica. */
export interface Replica {
  /** Host and port. */
  readonly address: string;
  /** Settles when the replica has every ring and key that it needs and says SERVING. */
  readonly ready: Promise<void>;
  /** Drains and lets everything go. */
  stop(): Promise<void>;
}

/** Starts a replica that serves the config's roles. */
export async function startReplica(config: Config, log: Logger): Promise<Replica> {
  const releasers = new Releasers();
  try {
    return await start(config, log, releasers);
  } catch (error) {
    await releasers.release();
    throw error;
  }
}

async function start(config: Config, log: Logger, releasers: Releasers): Promise<Replica> {
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

  const database: ReplicaDependencies["database"] = (role) => {
    const pool = createPool(config.databaseUrls[role]!, {
      max: config.databaseConnections,
      name: `waybill-${role}`,
      // The feed listens for as long as it lives: keys has its connections to itself.
      prepare: role === "keys" || config.databasePrepare,
    });
    releasers.push(`the pool of ${role}`, () => pool.end());
    return pool;
  };

  const ownKeys = config.roles.includes("keys")
    ? startKeys({ config, log, server, releasers, credentials, contract, database })
    : undefined;

  // From here on the port is known: without other addresses, services ask this replica itself.
  const port = await server.listen(config.listen);
  releasers.push("the server", () => server.drain());
  if (config.probe !== undefined) await server.listenForProbes(config.probe);
  const address = config.listen.replace(/:\d+$/, `:${port}`);

  const others = config.roles.filter((role) => role !== "keys");
  const awaited: Promise<unknown>[] = ownKeys === undefined ? [] : [ownKeys.ready];
  const leases = new Leases((areHeld) => server.serving(areHeld));
  if (others.length > 0) {
    const keysTarget = config.keysAddress ?? address;
    // Who may revoke more than sessions follows the feed for all.
    const service = others.find((role) => role === "token" || role === "identity") ?? others[0]!;
    const feed = new RevocationFeed({
      target: keysTarget,
      client: { contract, ...tls?.client },
      service,
      credentials,
      boundMs: config.revocationBoundMs,
      log,
    });
    releasers.push("the feed of revocations", () => feed.close());
    awaited.push(feed.ready);

    const tokenTarget = others.includes("token") ? address : config.tokenAddress;
    let authentication: TokenAuthentication | undefined;
    if (tokenTarget !== undefined) {
      const jwks = new JwksWatcher({ target: tokenTarget, client: tls?.client, log });
      releasers.push("the signing keys", () => jwks.close());
      awaited.push(jwks.ready);
      const tokens = new AccessTokens(config.issuer, jwks);
      const { revocations } = feed;
      const origins = [...config.origins, `${tls === undefined ? "http" : "https"}://${address}`];
      authentication = new TokenAuthentication({ tokens, revocations, origins });
      server.checkTokens(authentication);
    }

    const replica: ReplicaDependencies = {
      config,
      log,
      contract,
      server,
      releasers,
      credentials,
      tls,
      address,
      feed,
      cacheOf: (role) => cacheOf(config, role),
      authentication,
      database,
      ringOf(role, audience = role) {
        const options = { target: keysTarget, client: tls?.client, credentials, log };
        const reads = contract.methods.find(({ session }) => session?.audience === audience)
          ?.session?.revision;
        const { holder } = leases;
        const release = ownKeys && (() => ownKeys.rings.release(audience, holder, OWN));
        const lease = { holder, reads, release, changed: leases.changedOf(audience) };
        const ring = new RingWatcher({ ...options, service: role, audience, lease });
        releasers.push(`the ring of ${audience}`, () => ring.close());
        awaited.push(ring.ready);
        return ring;
      },
      anchorage(role, db) {
        const anchors = new Anchors(db, role, `${hostname()}/${process.pid}`);
        const keepS = longestSessionS(replica);
        // Some partitions to a session's life: as many as can be dropped one by one.
        const keep = () => anchors.keepPartitions(keepS / 4, keepS);
        const what = `keep the partitions of ${role}`;
        releasers.push(`the partitions of ${role}`, every(what, MINUTE_MS, keep, log));
        // After a long pause there may be none for the sessions that begin now.
        const stopping = new AbortController();
        releasers.push(`the first partitions of ${role}`, () => stopping.abort());
        awaited.push(untilDone(what, keep, log, stopping.signal));
        return {
          anchors,
          savedResponses: new SavedResponses(role, replica.ringOf(role, savedAudience(role))),
        };
      },
      serviceTokens(service) {
        if (tokenTarget === undefined) return undefined;
        const { issuer } = config;
        const [origin] = config.origins;
        const client = tls?.client;
        const own = { contract, target: tokenTarget, issuer, origin, client, service, credentials };
        const tokens = new ServiceTokens(own);
        releasers.push(`the tokens of ${service}`, () => tokens.close());
        return tokens;
      },
      assertions: (role) => new Assertions(credentials, role),
      clientOptions: () => ({ contract, ...tls?.client }),
      awaits: (ready) => awaited.push(ready),
    };
    for (const role of others) STARTS[role](replica);
  }

  return {
    address,
    ready: Promise.all(awaited).then(() => leases.ready()),
    async stop() {
      leases.stop();
      await delay(config.drainDelayMs);
      await server.drain();
      const failures = await releasers.release();
      for (const err of failures) log.error({ err }, "stopped, but not cleanly");
    },
  };
}
