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

/** How a server is set up. Only `contract` is required. */
export interface ServerOptions {
  contract: Contract;
  /**
   * Where refusals and failures are written, and what grpc-js logs, unless the program has set a logger of its
   * own for it (`redactGrpcLog`). Default: nowhere, and grpc-js's lines go to stderr, without metadata values.
   */
  log?: Logger;
  /** How callers of service-only methods prove who they are. Default: they are refused. */
  authenticate?: Authenticate;
  /** How callers' access tokens are checked. Default: methods that demand one are refused. */
  tokens?: Authentication;
  /** What a proxy in front proves to be it with. Default: nobody's forwarding metadata are believed. */
  frontProxySecret?: string | undefined;
  /**
   * Makes the status of an error that is no StatusError. Where it returns undefined, and by default, an
   * unavailable Postgres is DATABASE_UNAVAILABLE, a conflict there CONFLICT, and anything else INTERNAL.
   */
  translate?: (error: unknown) => StatusError | undefined;
  /**
   * Largest request in bytes, of methods whose proto states none (`max_request_bytes`). Default: 64 KiB.
   * A request with a carrier field may be 64 KiB larger.
   */
  maxRequestBytes?: number;
  /**
   * Unary calls of strangers that are served at a time; more are answered OVERLOADED. Default: 1,000.
   * Other services of the system are always served: what they ask for, everybody waits for.
   */
  maxCalls?: number;
  /** The same, of streams with a session. Default: a quarter of `maxCalls`. */
  maxStreams?: number;
  /** How long a connection lives, give or take a tenth, in ms. Default: 5 minutes. */
  maxConnectionAgeMs?: number;
  /** TLS credentials. Default: plaintext. */
  credentials?: ServerCredentials | undefined;
  /** Names of the services that reflection shows. Default: those added. */
  reflect?: string[];
}

/** Largest request of methods that state none, in bytes. */
const DEFAULT_MAX_REQUEST_BYTES = 64 * 1024;

/** Longest time that draining waits for calls under way, in ms. */
const DRAIN_LIMIT_MS = 30_000;
/** Largest health check of the port for probes. */
const MAX_PROBE_BYTES = 1024;

/**
 * A gRPC server with what every service here has: the interceptors of its contract, health
 * (`grpc.health.v1`), reflection (v1 and v1alpha), limits and a drain that fails no call.
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
  /** How many are served, by what bounds them. */
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
      // The largest of all methods: each method's own is checked where its requests are read.
      "grpc.max_receive_message_length": Math.max(
        maxRequestBytes,
        ...options.contract.methods.map((method) => largestRequest(method, maxRequestBytes)),
      ),
      // Its books of calls and connections are open to nobody here.
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

  /** Has the access tokens for services added from now on checked by this. */
  checkTokens(tokens: Authentication): this {
    const { authentications } = this.#surroundings;
    this.#surroundings = { ...this.#surroundings, authentications: { ...authentications, tokens } };
    return this;
  }

  /**
   * Adds a service.
   *
   * @param parts for a service with sessions: the state's codec and the audience's ring
   * @param cache where answers of methods that are declared cacheable are kept. Default: nowhere. Its scope of
   *   the service's name hears of changes; without them answers are kept as long as they are declared good
   * @throws Error naming the method whose contract cannot be kept
   */
  add<Definition extends ServiceDefinition, State = never>(
    definition: Definition,
    handlers: Handlers<Definition, State>,
    parts?: SessionOptions<State>,
    cache?: ResponseCache,
  ): this {
    const implementation = implement(definition, handlers, this.#surroundings, parts, cache);
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
   * Listens. Calls are answered from now on; health stays NOT_SERVING until `serving(true)`.
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
   * Answers health checks alone on a port of their own, in plaintext: Kubernetes' probes speak no TLS.
   *
   * @returns the port
   */
  async listenForProbes(address: string): Promise<number> {
    this.#health.addToServer(this.#probes);
    const port = await bind(this.#probes, address, undefined);
    new UnaryWire().attach(this.#probes);
    return port;
  }

  /** Says whether calls should be sent here: the answer of every health check. */
  serving(isServing: boolean): void {
    if (this.#draining.signal.aborted) return;
    this.#setHealth(isServing);
  }

  /**
   * Stops without failing a call: turns NOT_SERVING, tells peers to open no more streams, ends the
   * streams, waits for the calls under way, and at last closes the connections.
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
    // What may be left are streams without a session that do not heed the signal, such as health's.
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
