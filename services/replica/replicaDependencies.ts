import { hostname } from "node:os";
import type { Logger } from "pino";
import { type Anchorage, type Contract, RingWatcher, type Server } from "waybill";
import {
  AccessTokens,
  Assertions,
  type Credentials,
  JwksWatcher,
  type loadTls,
  RevocationFeed,
  ServiceTokens,
  TokenAuthentication,
} from "waybill/auth";
import type { ClientOptions } from "waybill/client";
import { Anchors, type Pool, SavedResponses, savedAudience } from "waybill/postgres";
import { every, untilDone } from "#shared/runtime/periodic.ts";
import type { Releasers } from "#shared/runtime/releasers.ts";
import type { Keys } from "../keys/start.ts";
import type { Config, DatabaseConfig, Role } from "./config/config.ts";
import type { Leases } from "./leases.ts";

const MINUTE_MS = 60_000;
/** A session's life spans a few partitions, so that expired ones can be dropped one by one. */
const PARTITIONS_PER_LIFE = 4;
/** Audit actor when this process returns its own leases. */
const OWN_ACTOR = { actor: "services/keys" };

/** Dependencies of the key service, which starts before the replica listens. */
export interface KeysDependencies {
  readonly config: Config;
  readonly log: Logger;
  readonly contract: Contract;
  readonly server: Server;
  readonly releasers: Releasers;
  readonly credentials: Credentials;
  readonly tls: ReturnType<typeof loadTls> | undefined;
  /**
   * Longest life, in seconds, of anything issued to a caller except refresh tokens. Revocations are retained
   * for this long.
   */
  readonly longestSessionS: number;
  /** Opens the role's connection pool. */
  database(role: Role, settings: DatabaseConfig): Pool;
}

/** State of one replica that the dependencies of its services share. */
export interface ReplicaState extends KeysDependencies {
  /** Host and port where this replica listens. */
  readonly address: string;
  readonly keysTarget: string;
  /** Undefined: the replica accepts no access tokens. */
  readonly tokenTarget: string | undefined;
  readonly leases: Leases;
  /** The key service of this replica, if it serves the role. */
  readonly ownKeys: Keys | undefined;
  /** The replica reports SERVING when all have settled. */
  readonly awaited: Promise<unknown>[];
}

/** Dependencies of every service but the key service. */
export interface ReplicaDependencies extends KeysDependencies {
  readonly address: string;
  readonly keysTarget: string;
  readonly feed: RevocationFeed;
  /** Undefined: the replica accepts no access tokens. */
  readonly authentication: TokenAuthentication | undefined;
  /** Watches the ring of one of the role's audiences; default: the role's own. */
  ringOf(role: Role, audience?: string): RingWatcher;
  /** Anchors the role's sessions in its own schema. */
  anchorage(role: Role, db: Pool): Anchorage;
  assertions(role: Role): Assertions;
  /** Access tokens of the role's own calls; undefined: the replica accepts none. */
  serviceTokens(role: Role): ServiceTokens | undefined;
  /** Options of clients that call other services. */
  clientOptions(): ClientOptions;
  /** Delays SERVING until `ready` settles. */
  awaits(ready: Promise<unknown>): void;
}

/** Builds the dependencies of a replica's services. */
export function replicaDependencies(state: ReplicaState, feedService: Role): ReplicaDependencies {
  const { credentials, contract, tls, awaited } = state;
  const feed = revocationFeed(state, feedService);
  const ringOf = (role: Role, audience: string = role) => ringWatcher(state, role, audience);
  return {
    ...state,
    feed,
    authentication: tokenAuthentication(state, feed),
    ringOf,
    anchorage: (role, db) => ({
      anchors: anchorsOf(state, role, db),
      savedResponses: new SavedResponses(role, ringOf(role, savedAudience(role))),
    }),
    serviceTokens: (role) => serviceTokens(state, role),
    assertions: (role) => new Assertions(credentials, role),
    clientOptions: () => ({ contract, ...tls?.client }),
    awaits: (ready) => awaited.push(ready),
  };
}

function revocationFeed(state: ReplicaState, service: Role): RevocationFeed {
  const { config, contract, credentials, keysTarget, tls, log, releasers, awaited } = state;
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
  return feed;
}

/** Makes the server check access tokens. */
function tokenAuthentication(
  { config, server, address, tokenTarget, tls, log, releasers, awaited }: ReplicaState,
  { revocations }: RevocationFeed,
): TokenAuthentication | undefined {
  if (tokenTarget === undefined) return undefined;
  const jwks = new JwksWatcher({ target: tokenTarget, client: tls?.client, log });
  releasers.push("the signing keys", () => jwks.close());
  awaited.push(jwks.ready);
  const tokens = new AccessTokens(config.issuer, jwks);
  const origins = [...config.origins, `${tls === undefined ? "http" : "https"}://${address}`];
  const authentication = new TokenAuthentication({ tokens, revocations, origins });
  server.checkTokens(authentication);
  return authentication;
}

function ringWatcher(state: ReplicaState, role: Role, audience: string): RingWatcher {
  const { contract, credentials, keysTarget, tls, log, leases, ownKeys } = state;
  const session = contract.methods.find((method) => method.session?.audience === audience)?.session;
  const { holder } = leases;
  const ring = new RingWatcher({
    target: keysTarget,
    client: tls?.client,
    credentials,
    log,
    service: role,
    audience,
    lease: {
      holder,
      reads: session?.revision,
      release: ownKeys && (() => ownKeys.rings.release(audience, holder, OWN_ACTOR)),
      changed: leases.changedOf(audience),
    },
  });
  state.releasers.push(`the ring of ${audience}`, () => ring.close());
  state.awaited.push(ring.ready);
  return ring;
}

function anchorsOf(state: ReplicaState, role: Role, db: Pool): Anchors {
  const { log, releasers, awaited, longestSessionS: lifeS } = state;
  const anchors = new Anchors(db, role, `${hostname()}/${process.pid}`);
  const keep = () => anchors.keepPartitions(lifeS / PARTITIONS_PER_LIFE, lifeS);
  const what = `maintenance of the partitions of ${role}`;
  releasers.push(`the partitions of ${role}`, every(what, MINUTE_MS, keep, log));
  // At once, too: after a long pause there may be no partition for sessions that begin now.
  const stopping = new AbortController();
  releasers.push(`the first partitions of ${role}`, () => stopping.abort());
  awaited.push(untilDone(what, keep, log, stopping.signal));
  return anchors;
}

function serviceTokens(state: ReplicaState, service: Role): ServiceTokens | undefined {
  const { config, contract, credentials, tokenTarget: target, tls } = state;
  if (target === undefined) return undefined;
  const { issuer, origins } = config;
  const [origin] = origins;
  const client = tls?.client;
  const own = { contract, target, issuer, origin, client, service, credentials };
  const tokens = new ServiceTokens(own);
  state.releasers.push(`the tokens of ${service}`, () => tokens.close());
  return tokens;
}
