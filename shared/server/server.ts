import {
  Server as GrpcServer,
  type ServerOptions as GrpcServerOptions,
  ServerCredentials,
} from "@grpc/grpc-js";
import { HealthImplementation } from "grpc-health-check";
import type { Logger } from "pino";
import { Access } from "../../proto/gen/waybill/options/v1/options.ts";
import type { ResponseCache } from "../cache/responseCache.ts";
import { type Contract, largestRequest } from "../contract/contract.ts";
import type { Handlers, ServiceDefinition } from "../contract/handlers.ts";
import { Errors, type StatusError } from "../errors.ts";
import { databaseError } from "../pg/errors.ts";
import type { SessionOptions } from "../session/options.ts";
import type { Authenticate, Authentication } from "./access.ts";
import { failureLog } from "./failureLog.ts";
import { FrontProxy } from "./frontProxy.ts";
import { implement, type Surroundings } from "./implement.ts";
import { addReflection } from "./reflection.ts";
import { checkServerOptions } from "./serverOptions.ts";
import { redactGrpcLog } from "./wire/grpcLog.ts";
import { destroyServer, setHttp2Options } from "./wire/http2Options.ts";
import { UnaryWire } from "./wire/unaryWire.ts";

/** Options of a server. Only `contract` is required. */
export interface ServerOptions {
  contract: Contract;
  /**
   * Receives refused and failed calls, and the lines of grpc-js unless the program has set a logger for them
   * (`redactGrpcLog`). Default: calls are not logged, and grpc-js writes to stderr without metadata values.
   */
  log?: Logger;
  /** Authenticates the callers of service-only methods. Default: denies them. */
  authenticate?: Authenticate;
  /** Checks access tokens. Default: denies methods that require one. */
  tokens?: Authentication;
  /** Secret of the front proxy. Default: the server ignores forwarding metadata. */
  frontProxySecret?: string | undefined;
  /**
   * Converts an error that is not a StatusError. If it returns undefined, and by default, unavailable Postgres
   * becomes DATABASE_UNAVAILABLE, a conflict in Postgres CONFLICT, and any other error INTERNAL.
   */
  translate?: (error: unknown) => StatusError | undefined;
  /**
   * Largest request, in bytes, of methods without `max_request_bytes` in the proto. Default: 64 KiB. A request
   * with a carrier field may be 64 KiB larger.
   */
  maxRequestBytes?: number;
  /**
   * Most concurrent unary calls. The server sheds more with OVERLOADED. Default: 1,000. Calls of other
   * services of the system are never shed: many callers wait for them.
   */
  maxCalls?: number;
  /** Most concurrent streams with a session. Default: a quarter of `maxCalls`. */
  maxStreams?: number;
  /** Lifetime of a connection in ms, plus or minus a tenth. Default: 5 minutes. */
  maxConnectionAgeMs?: number;
  /** TLS credentials. Default: plaintext. */
  credentials?: ServerCredentials | undefined;
  /** Names of the services in reflection. Default: the added services. */
  reflect?: string[];
}

const DEFAULT_MAX_REQUEST_BYTES = 64 * 1024;

/** Longest time that a drain waits for running calls, in ms. */
const DRAIN_LIMIT_MS = 30_000;
/** Largest request to the port for probes. */
const MAX_PROBE_BYTES = 1024;

/**
 * A gRPC server that enforces a contract, with health (`grpc.health.v1`), reflection (v1 and v1alpha), load
 * shedding, and a drain that fails no call.
 */
export class Server {
  readonly #grpc: GrpcServer;
  readonly #probes = new GrpcServer({ "grpc.max_receive_message_length": MAX_PROBE_BYTES });
  readonly #options: ServerOptions;
  readonly #health = new HealthImplementation({ "": "NOT_SERVING" });
  readonly #unary: UnaryWire;
  readonly #names: string[] = [];
  readonly #draining = new AbortController();
  #surroundings: Surroundings;
  /** Running calls, by the limit that counts them. */
  readonly #served = { calls: 0, streams: 0, services: 0 };
  #idle: (() => void) | undefined;
  #drained: Promise<void> | undefined;

  /** @throws Error naming the option that breaks a rule */
  constructor(options: ServerOptions) {
    checkServerOptions(options);
    this.#options = options;
    const { maxCalls = 1000, maxConnectionAgeMs = 5 * 60_000, log } = options;
    const streams = options.maxStreams ?? Math.ceil(maxCalls / 4);
    const most = { calls: maxCalls, streams, services: Number.POSITIVE_INFINITY };
    const maxRequestBytes = options.maxRequestBytes ?? DEFAULT_MAX_REQUEST_BYTES;
    const failed = failureLog(log);
    this.#unary = new UnaryWire(failed);
    const grpcOptions: GrpcServerOptions = {
      // The largest limit of all methods. The limit of each method is checked when its requests are read.
      "grpc.max_receive_message_length": Math.max(
        maxRequestBytes,
        ...options.contract.methods.map((method) => largestRequest(method, maxRequestBytes)),
      ),
      // No client may read channelz here.
      "grpc.enable_channelz": 0,
      "grpc.max_concurrent_streams": maxCalls,
      "grpc.max_connection_age_ms": maxConnectionAgeMs,
      "grpc.max_connection_age_grace_ms": DRAIN_LIMIT_MS,
      "grpc.keepalive_time_ms": 30_000,
      "grpc.keepalive_timeout_ms": 10_000,
    };
    redactGrpcLog(log);
    this.#grpc = new GrpcServer(grpcOptions);
    for (const server of [this.#grpc, this.#probes]) setHttp2Options(server);
    this.#health.addToServer(this.#grpc);
    this.#surroundings = {
      contract: options.contract,
      authentications: { services: options.authenticate, tokens: options.tokens },
      frontProxy: new FrontProxy(options.frontProxySecret),
      maxRequestBytes,
      draining: this.#draining.signal,
      translate: (error) => options.translate?.(error) ?? databaseError(error),
      enter: ({ kind, access }) => {
        const isOwn = access === Access.ACCESS_SERVICE;
        const bound = isOwn ? "services" : kind === "unary" ? "calls" : "streams";
        if (this.#served[bound] >= most[bound]) return undefined;
        this.#served[bound] += 1;
        return () => {
          this.#served[bound] -= 1;
          if (this.#idle !== undefined && this.#isIdle()) this.#idle();
        };
      },
      failed,
    };
  }

  /** Sets the check of access tokens for services that are added later. */
  checkTokens(tokens: Authentication): this {
    const { authentications } = this.#surroundings;
    this.#surroundings = { ...this.#surroundings, authentications: { ...authentications, tokens } };
    return this;
  }

  /**
   * Adds a service.
   *
   * @param sessions required for a service with sessions
   * @param cache caches the responses of cacheable methods. Default: no cache. Changes that its scope of the
   *   service's name receives invalidate responses; without changes they expire as declared
   * @throws Error naming a method whose contract the server cannot enforce
   */
  add<Definition extends ServiceDefinition, State = never>(
    definition: Definition,
    handlers: Handlers<Definition, State>,
    sessions?: SessionOptions<State>,
    cache?: ResponseCache,
  ): this {
    const implementation = implement(definition, handlers, this.#surroundings, sessions, cache);
    this.#grpc.addService(implementation.definition, implementation.handlers);
    for (const method of implementation.unary) this.#unary.add(method);
    for (const method of implementation.streams) this.#unary.addStream(method);
    const [method] = Object.values(definition);
    if (method !== undefined) {
      const name = this.#options.contract.method(method.path).service;
      this.#names.push(name);
      this.#health.setStatus(name, "NOT_SERVING");
    }
    return this;
  }

  /**
   * Listens and serves calls. Health stays NOT_SERVING until `serving(true)`.
   *
   * @param address host and port, such as `127.0.0.1:0`
   * @returns the port
   */
  async listen(address: string): Promise<number> {
    addReflection(this.#grpc, this.#options.contract, this.#options.reflect ?? this.#names);
    const port = await bind(this.#grpc, address, this.#options.credentials);
    this.#unary.attach(this.#grpc);
    return port;
  }

  /**
   * Serves health checks on a port of their own, in plaintext: Kubernetes probes cannot use TLS.
   *
   * @returns the port
   */
  async listenForProbes(address: string): Promise<number> {
    this.#health.addToServer(this.#probes);
    const port = await bind(this.#probes, address, undefined);
    new UnaryWire().attach(this.#probes);
    return port;
  }

  /** Sets the status of every health check. Ignored once the server drains. */
  serving(isServing: boolean): void {
    if (this.#draining.signal.aborted) return;
    this.#setHealth(isServing);
  }

  /**
   * Stops the server without failing a call: turns NOT_SERVING, tells peers to open no more streams, ends
   * streams without a session, waits up to 30 s for running calls, and closes the connections.
   */
  drain(): Promise<void> {
    this.#drained ??= this.#drain();
    return this.#drained;
  }

  async #drain(): Promise<void> {
    this.#setHealth(false);
    this.#draining.abort(Errors.OVERLOADED());
    const closed = new Promise<void>((resolve) => this.#grpc.tryShutdown(() => resolve()));
    const limit = setTimeout(() => destroyServer(this.#grpc), DRAIN_LIMIT_MS);
    await new Promise<void>((resolve) => {
      this.#idle = resolve;
      if (this.#isIdle()) resolve();
      closed.then(resolve, resolve);
    });
    // Streams without a session that ignore the signal, such as health watches, may still be open.
    const settle = setTimeout(() => destroyServer(this.#grpc), 500);
    await closed;
    clearTimeout(limit);
    clearTimeout(settle);
    destroyServer(this.#probes);
  }

  #isIdle(): boolean {
    return Object.values(this.#served).every((served) => served === 0);
  }

  #setHealth(isServing: boolean): void {
    const status = isServing ? "SERVING" : "NOT_SERVING";
    for (const name of ["", ...this.#names]) this.#health.setStatus(name, status);
  }
}

function bind(
  server: GrpcServer,
  address: string,
  credentials = ServerCredentials.createInsecure(),
): Promise<number> {
  return new Promise((resolve, reject) => {
    server.bindAsync(address, credentials, (error, port) => {
      if (error) reject(new Error(`cannot listen on ${address}: ${error.message}`));
      else resolve(port);
    });
  });
}
