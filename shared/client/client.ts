import {
  type ChannelCredentials,
  type ChannelOptions,
  Client,
  credentials as grpcCredentials,
  type Interceptor,
  Metadata,
} from "@grpc/grpc-js";
import { Changes } from "../cache/changes.ts";
import type { ResponseCache } from "../cache/responseCache.ts";
import { type Contract, checkContract, type MethodContract } from "../contract/contract.ts";
import type { Caller, ClientMethods, Context, ServiceDefinition } from "../contract/handlers.ts";
import { MAX_TIMER_MS, wholeNumber } from "../runtime/wholeNumber.ts";
import { redactGrpcLog } from "../server/wire/grpcLog.ts";
import { setSecret } from "../waybill/metadata.ts";
import { allowingAddresses } from "./addressCredentials.ts";
import { cachedCall, type Send } from "./cachedCall.ts";
import { retrying } from "./retry.ts";
import { type ClientMethod, callForResponse, openStream } from "./send.ts";

const DEFAULT_TIMEOUT_MS = 10_000;

/** The number of clients made so far. Each has callers of its own. */
let clients = 0;

/** The credentials of one call with a token that is bound to a key (RFC 9449). */
export interface BoundAuthorization {
  /** `DPoP` and the token. */
  readonly authorization: string;
  /** The proof for this token and the called method. */
  readonly dpop: string;
}

/** How a client is set up. */
export interface ClientOptions {
  /** TLS credentials. Default: plaintext. */
  credentials?: ChannelCredentials;
  /** Each call's deadline where it gives none, in ms from now. Default: 10 s. */
  timeoutMs?: number;
  interceptors?: Interceptor[];
  /**
   * Makes the `authorization` of a call, and a DPoP proof where the token is bound to a key, from the path
   * of its method and the caller on whose behalf it is made. Undefined: none is sent.
   */
  authorize?: (
    path: string,
    caller: Caller | undefined,
  ) => Promise<string | BoundAuthorization | undefined>;
  /**
   * With it, failed calls that are safe to repeat are retried, and no call gets a cached response, of this
   * client's cache or of the service's, from before a change that a response to this client told of.
   */
  contract?: Contract;
  /**
   * Caches responses that `contract` declares cacheable; needs `contract`. A response that is not public is
   * cached for the caller that `authorize`, or the call's own metadata `authorization`, names. The cache does
   * not see what `interceptors` add: with any, only public responses that do not vary are cached. Default:
   * no cache.
   */
  cache?: ResponseCache | undefined;
  channel?: ChannelOptions;
}

/** How one call is made. */
export interface CallSettings {
  metadata?: Metadata;
  /** The deadline, in ms from now. Never later than that of `context`. */
  timeoutMs?: number;
  /** The call that is being served: its deadline, cancellation and trace apply to this call too. */
  context?: Pick<Context, "deadline" | "signal" | "metadata"> & Partial<Pick<Context, "caller">>;
  signal?: AbortSignal;
  /** Gets the response's initial metadata. */
  onMetadata?: (metadata: Metadata) => void;
  /** Gets the response's trailers. */
  onTrailers?: (trailers: Metadata) => void;
}

/** A client. A method returns a promise of its response, or an iterable of a stream of responses. */
export type ServiceClient<Definition> = ClientMethods<Definition, CallSettings> & {
  close(): void;
};

/**
 * Makes a client. Calls are spread over all addresses that the target resolves to, every call has a
 * deadline, and connections are kept alive. Failed calls reject with grpc-js's ServiceError; read
 * its details with `readError`. From the first client on, grpc-js logs no metadata values (`redactGrpcLog`).
 *
 * With TLS credentials, the server's certificate must have the target's host as a subject alternative name:
 * a DNS name or an IP address; of a list of addresses the first.
 *
 * @param target a gRPC name, such as `127.0.0.1:8080`, `[::1]:8080`, `dns:///host:port` or `ipv4:a:1,b:2`
 */
export function createClient<Definition extends ServiceDefinition>(
  definition: Definition,
  target: string,
  options: ClientOptions = {},
): ServiceClient<Definition> {
  const { contract, cache, interceptors = [], timeoutMs = DEFAULT_TIMEOUT_MS } = options;
  if (cache !== undefined && contract === undefined) {
    throw new Error(
      "createClient: cache needs the contract, which says which responses may be cached",
    );
  }
  if (contract !== undefined) checkContract("createClient: contract", contract);
  wholeNumber("createClient: timeoutMs", timeoutMs, 1, MAX_TIMER_MS);
  redactGrpcLog();
  const clientId = ++clients;
  const credentials = options.credentials ?? grpcCredentials.createInsecure();
  const client = new Client(target, allowingAddresses(credentials), {
    "grpc.keepalive_time_ms": 30_000,
    "grpc.keepalive_timeout_ms": 10_000,
    "grpc.service_config": JSON.stringify({ loadBalancingConfig: [{ round_robin: {} }] }),
    // The last is nearest to the wire: a call keeps its turn in the jar through all its attempts.
    interceptors: contract ? [...interceptors, retrying(contract)] : interceptors,
    ...options.channel,
  });

  // Remembers the changes that responses told of, where no cache does.
  const remembered = new Changes();
  const methods: Record<string, unknown> = { close: () => client.close() };
  for (const [name, method] of Object.entries(definition)) {
    const declared = contract?.find(method.path);
    const scope = declared && cache?.scope(scopeName(target, declared.service));
    const known = declared && (scope ?? remembered);
    const calls = { client, definition: method, timeoutMs, declared, known };
    if (method.responseStream) {
      methods[name] = (request: unknown, settings: CallSettings = {}) =>
        openStream(calls, request, settings);
      continue;
    }
    const plain = authorized(calls, options.authorize);
    const isCacheable =
      scope !== undefined && declared !== undefined && mayCache(declared, options);
    methods[name] = isCacheable
      ? cachedCall(declared, method, {
          scope,
          plain,
          send: (request, settings) => callForResponse(calls, request, settings),
          timeoutMs,
          identity: identityOf(method, options, clientId),
        })
      : plain;
  }
  return methods as ServiceClient<Definition>;
}

/** Calls with one response, with the credentials that the client adds. */
function authorized(calls: ClientMethod, authorize: ClientOptions["authorize"]): Send {
  if (authorize === undefined) {
    return (request, settings = {}) => callForResponse(calls, request, settings);
  }
  return async (request, settings = {}) => {
    const made = await authorize(calls.definition.path, settings.context?.caller);
    if (made === undefined) return callForResponse(calls, request, settings);
    const metadata = settings.metadata?.clone() ?? new Metadata();
    const credentials = typeof made === "string" ? { authorization: made } : made;
    for (const [key, value] of Object.entries(credentials)) setSecret(metadata, key, value);
    return callForResponse(calls, request, { ...settings, metadata });
  };
}

/** A cache does not see the metadata that interceptors add, which may select the response. */
function mayCache(
  { cache, session }: MethodContract,
  { interceptors = [] }: ClientOptions,
): boolean {
  if (cache === undefined || session !== undefined) return false;
  return interceptors.length === 0 || (cache.public && cache.vary.length === 0);
}

/** Returns the identity that a response is cached for; undefined: unknown. */
function identityOf(
  { path }: ServiceDefinition[string],
  { authorize }: ClientOptions,
  clientId: number,
): (settings: CallSettings) => Promise<string | undefined> {
  return async (settings) => {
    const authorization = authorize
      ? await authorize(path, settings.context?.caller)
      : one(settings.metadata?.get("authorization"));
    // A proof is good for its one call, so a call with one bypasses the cache.
    if (typeof authorization !== "string") return undefined;
    return authorization && `${clientId} ${authorization}`;
  };
}

/** Returns the cache scope of a service at a target. */
export function scopeName(target: string, service: string): string {
  return `${target} ${service}`;
}

function one(values: readonly (string | Buffer)[] = []): string | undefined {
  return values.length === 1 ? values[0]?.toString() : undefined;
}
