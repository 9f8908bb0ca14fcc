import type { EventEmitter } from "node:events";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import {
  type CallOptions,
  type ChannelCredentials,
  type ChannelOptions,
  Client,
  type ClientReadableStream,
  type ClientUnaryCall,
  type ClientWritableStream,
  credentials as grpcCredentials,
  type Interceptor,
  Metadata,
  type ServiceError,
  type StatusObject,
} from "@grpc/grpc-js";
import { type KnownChanges, seeChange, seeWritten, withChange } from "../cache/changeNumbers.ts";
import { Changes } from "../cache/changes.ts";
import type { ResponseCache } from "../cache/responseCache.ts";
import { type Contract, checkContract } from "../contract/contract.ts";
import type { Caller, ClientMethods, Context, ServiceDefinition } from "../contract/handlers.ts";
import { MAX_TIMER_MS, wholeNumber } from "../runtime/wholeNumber.ts";
import { redactGrpcLog } from "../server/wire/grpcLog.ts";
import { HandlerTransaction } from "../session/handlerTransaction.ts";
import { setSecret } from "../waybill/metadata.ts";
import { allowingAddresses } from "./addressCredentials.ts";
import { cachedCall } from "./cachedCall.ts";
import { retrying } from "./retry.ts";

const DEFAULT_TIMEOUT_MS = 10_000;

/** How many clients were made: each has callers of its own. */
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
   * Makes the value of `authorization` of a call, and a DPoP proof where the token is bound to a key, from
   * the path of its method and from the caller on whose behalf it is made. Undefined: none is sent.
   */
  authorize?: (
    path: string,
    caller: Caller | undefined,
  ) => Promise<string | BoundAuthorization | undefined>;
  /**
   * With it, calls that may be repeated are, when they fail on their way; and of what is kept, here or by the
   * service, none is answered from before a change that an answer to this client has told of.
   */
  contract?: Contract;
  /**
   * Where answers are kept that `contract` declares cacheable; needs `contract`. What is not public is kept
   * for the caller that `authorize`, or the call's own metadata `authorization`, names. What `interceptors`
   * add is not known when an answer is looked for: with any, what is not public or varies is not kept. Default:
   * nothing is kept.
   */
  cache?: ResponseCache | undefined;
  channel?: ChannelOptions;
}

/** How one call is made. */
export interface CallSettings {
  metadata?: Metadata;
  /** How long to wait, in ms. Never longer than the call that `context` is of. */
  timeoutMs?: number;
  /** The call in whose course this one is made: its deadline, cancellation and trace go along. */
  context?: Pick<Context, "deadline" | "signal" | "metadata"> & Partial<Pick<Context, "caller">>;
  signal?: AbortSignal;
  /** Gets the response's initial metadata. */
  onMetadata?: (metadata: Metadata) => void;
  /** Gets what the response ends with. */
  onTrailers?: (trailers: Metadata) => void;
}

/** A client with a method to a promise for each response, and to an iterable for each stream of them. */
export type ServiceClient<Definition> = ClientMethods<Definition, CallSettings> & {
  close(): void;
};

/** W3C trace context goes with a call to the next service. */
const FORWARDED = ["traceparent", "tracestate"];

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
  const {
    contract,
    cache,
    interceptors = [],
    timeoutMs: defaultTimeoutMs = DEFAULT_TIMEOUT_MS,
  } = options;
  if (cache !== undefined && contract === undefined) {
    throw new Error("a client with a cache needs the contract, which says what may be kept");
  }
  if (contract !== undefined) checkContract("createClient: contract", contract);
  wholeNumber("createClient: timeoutMs", defaultTimeoutMs, 1, MAX_TIMER_MS);
  redactGrpcLog();
  const clientId = ++clients;
  const credentials = options.credentials ?? grpcCredentials.createInsecure();
  const client = new Client(target, allowingAddresses(credentials), {
    "grpc.keepalive_time_ms": 30_000,
    "grpc.keepalive_timeout_ms": 10_000,
    "grpc.service_config": JSON.stringify({ loadBalancingConfig: [{ round_robin: {} }] }),
    // The last is nearest to the wire: a call holds its turn in the jar through all its attempts.
    interceptors: contract ? [...interceptors, retrying(contract)] : interceptors,
    ...options.channel,
  });

  const callOptions = (settings: CallSettings): CallOptions => ({
    deadline: Math.min(
      Date.now() + (settings.timeoutMs ?? defaultTimeoutMs),
      settings.context?.deadline ?? Number.POSITIVE_INFINITY,
    ),
  });
  const metadataOf = ({ metadata, context }: CallSettings): Metadata => {
    if (context === undefined) return metadata ?? new Metadata();
    const merged = metadata?.clone() ?? new Metadata();
    for (const key of FORWARDED)
      for (const value of context.metadata.get(key)) merged.add(key, value);
    return merged;
  };

  // What is remembered of changes where no cache does it.
  const remembered = new Changes();
  const methods: Record<string, unknown> = { close: () => client.close() };
  for (const [name, method] of Object.entries(definition)) {
    const declared = contract?.find(method.path);
    const scope = declared && cache?.scope(scopeName(target, declared.service));
    const known = declared && (scope ?? remembered);
    // What is asked again, or of a session that answers again, may tell of a change that was made before.
    const writes =
      declared?.kind === "unary" && !declared.cache && !declared.idempotent && !declared.session;
    if (method.responseStream) {
      methods[name] = (request: unknown, settings: CallSettings = {}) => {
        HandlerTransaction.assertNone(method.path);
        // A stream lives until it is cancelled, unless the call says otherwise.
        const deadline =
          settings.timeoutMs === undefined ? undefined : callOptions(settings).deadline;
        const options = deadline === undefined ? {} : { deadline };
        const { path, requestSerialize: serialize, responseDeserialize: deserialize } = method;
        const metadata = metadataOf(settings);
        let stream: ClientReadableStream<unknown>;
        if (method.requestStream) {
          const both = client.makeBidiStreamRequest(
            path,
            serialize,
            deserialize,
            metadata,
            options,
          );
          // What breaks the stream is heard by its reader.
          pipeline(Readable.from(request as AsyncIterable<unknown>), both).catch(() => {});
          stream = both;
        } else {
          stream = client.makeServerStreamRequest(
            path,
            serialize,
            deserialize,
            request,
            metadata,
            options,
          );
        }
        const stopListening = onAbort(settings, () => stream.cancel());
        // Who stops reading destroys the stream; grpc-js by itself would leave the call open.
        stream.once("close", () => {
          stopListening();
          stream.cancel();
        });
        listen(stream, settings, known && toldOf(known, false));
        return stream;
      };
      continue;
    }
    const call = (request: unknown, settings: CallSettings) =>
      new Promise((resolve, reject) => {
        HandlerTransaction.assertNone(method.path);
        const { path, requestSerialize: serialize, responseDeserialize: deserialize } = method;
        const given = metadataOf(settings);
        const metadata = known && declared?.cache ? withChange(given, known) : given;
        const told = known && toldOf(known, writes);
        const done = (error: ServiceError | null, response?: unknown) => {
          stopListening();
          if (error) reject(error);
          else resolve(response);
        };
        let call: ClientUnaryCall | ClientWritableStream<unknown>;
        if (method.requestStream) {
          const options = settings.timeoutMs === undefined ? {} : callOptions(settings);
          const upload = client.makeClientStreamRequest(
            path,
            serialize,
            deserialize,
            metadata,
            options,
            done,
          );
          const requests = failing(request as AsyncIterable<unknown>, (error) => {
            reject(error);
            upload.cancel();
          });
          // What else breaks the stream is what the call fails with.
          pipeline(Readable.from(requests), upload).catch(() => {});
          call = upload;
        } else {
          const options = callOptions(settings);
          call = client.makeUnaryRequest(
            path,
            serialize,
            deserialize,
            request,
            metadata,
            options,
            done,
          );
        }
        const stopListening = onAbort(settings, () => call.cancel());
        listen(call, settings, told);
      });
    const { authorize } = options;
    const plain =
      authorize === undefined
        ? (request: unknown, settings: CallSettings = {}) => call(request, settings)
        : async (request: unknown, settings: CallSettings = {}) => {
            const made = await authorize(method.path, settings.context?.caller);
            if (made === undefined) return call(request, settings);
            const metadata = settings.metadata?.clone() ?? new Metadata();
            const credentials = typeof made === "string" ? { authorization: made } : made;
            for (const [key, value] of Object.entries(credentials)) {
              setSecret(metadata, key, value);
            }
            return call(request, { ...settings, metadata });
          };
    methods[name] = plain;
    if (scope === undefined || declared?.cache === undefined || declared.session) continue;
    const isAlike = declared.cache.public && declared.cache.vary.length === 0;
    if (interceptors.length > 0 && !isAlike) continue;
    const cached = cachedCall(declared, method, {
      scope,
      plain,
      send: call,
      forwarded: FORWARDED,
      metadataOf,
      deadline: (settings) => Number(callOptions(settings).deadline),
      onAbort,
      async identity(settings) {
        const authorization = authorize
          ? await authorize(method.path, settings.context?.caller)
          : one(settings.metadata?.get("authorization"));
        // A proof is good for its one call, so what comes with it passes the cache by.
        if (typeof authorization !== "string") return undefined;
        return authorization && `${clientId} ${authorization}`;
      },
    });
    methods[name] = async (request: unknown, settings: CallSettings = {}) => {
      HandlerTransaction.assertNone(method.path);
      return cached(request, settings);
    };
  }
  return methods as ServiceClient<Definition>;
}

/** The name that a cache knows a service by, as a target answers for it. */
export function scopeName(target: string, service: string): string {
  return `${target} ${service}`;
}

function one(values: readonly (string | Buffer)[] = []): string | undefined {
  return values.length === 1 ? values[0]?.toString() : undefined;
}

/** An iterable that tells when it fails by itself. */
async function* failing(
  source: AsyncIterable<unknown>,
  failed: (error: unknown) => void,
): AsyncGenerator<unknown> {
  try {
    yield* source;
  } catch (error) {
    failed(error);
    throw error;
  }
}

/** What notes the change that an answer tells of. To be made before the call. */
function toldOf(known: KnownChanges, writes: boolean): (metadata: Metadata) => void {
  if (!writes) return (metadata) => seeChange(known, metadata);
  const before = { seen: known.seen, era: known.era };
  return (metadata) => seeWritten(known, before, metadata);
}

function listen(
  call: EventEmitter,
  { onMetadata, onTrailers }: CallSettings,
  told: ((metadata: Metadata) => void) | undefined,
): void {
  // Before the answer: what the caller does next knows of the change.
  if (told) call.on("metadata", told);
  if (onMetadata) call.on("metadata", onMetadata);
  if (onTrailers) call.on("status", ({ metadata }: StatusObject) => onTrailers(metadata));
}

function onAbort({ signal, context }: CallSettings, cancel: () => void): () => void {
  const signals = [signal, context?.signal].filter((each) => each !== undefined);
  for (const each of signals) {
    if (each.aborted) cancel();
    else each.addEventListener("abort", cancel, { once: true });
  }
  return () => {
    for (const each of signals) each.removeEventListener("abort", cancel);
  };
}
