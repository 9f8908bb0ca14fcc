import { setTimeout as delay } from "node:timers/promises";
import type { Logger } from "pino";
import { CatalogServiceService } from "#proto/waybill/catalog/v1/catalog.ts";
import { CheckoutServiceService } from "#proto/waybill/checkout/v1/checkout.ts";
import { CheckoutState } from "#proto/waybill/checkout/v1/checkout_state.ts";
import { KeysServiceService } from "#proto/waybill/keys/v1/keys.ts";
import { SessionServiceService, SessionState } from "#proto/waybill/session/v1/session.ts";
import { serviceAuthentication } from "#shared/credentials/assertion.ts";
import { loadCredentials } from "#shared/credentials/credentials.ts";
import { loadTls } from "#shared/credentials/tls.ts";
import { createClient } from "#shared/grpc/client.ts";
import { loadContract } from "#shared/grpc/contract.ts";
import { Server } from "#shared/grpc/server.ts";
import { Releasers } from "#shared/lifecycle/releasers.ts";
import { databaseError } from "#shared/pg/errors.ts";
import { createPool } from "#shared/pg/pool.ts";
import { RingWatcher } from "#shared/rings/ringWatcher.ts";
import { Cursors } from "#shared/waybill/cursors.ts";
import { catalogHandlers } from "./catalog/index.ts";
import { checkoutHandlers } from "./checkout/index.ts";
import type { Config, Role } from "./config.ts";
import { keysHandlers } from "./keys/index.ts";
import { Versions } from "./keys/versions.ts";
import { loadWrapping } from "./keys/wrapping.ts";
import { sessionHandlers } from "./session/index.ts";

const CONTRACT = new URL("../proto/gen/image.binpb", import.meta.url);

/** Public services: what reflection shows on every replica, whatever its roles. */
const PUBLIC_SERVICES = [
  "waybill.session.v1.SessionService",
  "waybill.catalog.v1.CatalogService",
  "waybill.checkout.v1.CheckoutService",
];

/** One running replica. */
export interface Replica {
  /** Host and port. */
  readonly address: string;
  /** Settles when the replica has every ring that it needs and says SERVING. */
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
  const has = (role: Role) => config.roles.includes(role);
  const contract = loadContract(CONTRACT);
  const credentials = loadCredentials(config.credentialsDir);
  const tls = config.tlsDir === undefined ? undefined : loadTls(config.tlsDir);
  const server = new Server({
    contract,
    credentials: tls?.server,
    log,
    authenticate: serviceAuthentication(credentials),
    translate: databaseError,
    maxConnectionAgeMs: config.maxConnectionAgeMs,
    reflect: PUBLIC_SERVICES,
  });

  const database = (role: Role) => {
    const pool = createPool(config.databaseUrls[role]!, {
      max: config.databaseConnections,
      name: `waybill-${role}`,
    });
    releasers.push(`the pool of ${role}`, () => pool.end());
    return pool;
  };

  if (has("keys")) {
    const db = database("keys");
    const versions = new Versions(db, log);
    releasers.push("the poll of ring versions", () => versions.close());
    const wrapping = loadWrapping(config.keyEncryptionKeyFile!);
    server.add(KeysServiceService, keysHandlers({ db, wrapping, credentials, versions }));
  }

  // From here on the port is known: without other addresses, services ask this replica itself.
  const port = await server.listen(config.listen);
  releasers.push("the server", () => server.drain());
  if (config.probe !== undefined) await server.listenForProbes(config.probe);
  const address = config.listen.replace(/:\d+$/, `:${port}`);

  const rings: RingWatcher[] = [];
  const ringOf = (role: Role) => {
    const target = config.keysAddress ?? address;
    const ring = new RingWatcher({
      target,
      client: tls?.client,
      service: role,
      audience: role,
      credentials,
      log,
    });
    releasers.push(`the ring of ${role}`, () => ring.close());
    rings.push(ring);
    return ring;
  };

  if (has("session")) {
    const parts = { state: SessionState, ring: ringOf("session") };
    server.add(SessionServiceService, sessionHandlers, parts);
  }
  if (has("catalog")) {
    const cursors = new Cursors("catalog", ringOf("catalog"));
    server.add(CatalogServiceService, catalogHandlers({ db: database("catalog"), cursors }));
  }
  if (has("checkout")) {
    const ring = ringOf("checkout");
    const target = config.catalogAddress ?? address;
    const catalog = createClient(CatalogServiceService, target, { contract, ...tls?.client });
    releasers.push("the client of the catalogue", () => catalog.close());
    const cursors = new Cursors("checkout", ring);
    const handlers = checkoutHandlers({
      db: database("checkout"),
      catalog,
      cursors,
    });
    server.add(CheckoutServiceService, handlers, {
      state: CheckoutState,
      ring,
    });
  }

  return {
    address,
    ready: Promise.all(rings.map((ring) => ring.ready)).then(() => server.serving(true)),
    async stop() {
      server.serving(false);
      await delay(config.drainDelayMs);
      await server.drain();
      const failures = await releasers.release();
      for (const err of failures) log.error({ err }, "stopped, but not cleanly");
    },
  };
}
