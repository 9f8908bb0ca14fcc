import { Metadata, type ServiceError, status } from "@grpc/grpc-js";
import { ageOf, directivesOf, lifetimeOf } from "../cache/cacheControl.ts";
import { type CacheScope, type Fetch, FLIGHT_LIMIT_MS } from "../cache/cacheScope.ts";
import { CHANGE_KEY, seeChange } from "../cache/changeNumbers.ts";
import type { CachedResponse } from "../cache/responseCache.ts";
import type { MethodContract } from "../contract/contract.ts";
import type { ServiceDefinition } from "../contract/handlers.ts";
import { only, resourcesIn, valuesOf } from "../server/caching.ts";
import { namesEtag } from "../server/revalidation.ts";
import { HandlerTransaction } from "../session/handlerTransaction.ts";
import { SESSION_KEY, WAYBILL_KEY } from "../waybill/carriers.ts";
import { setSecret } from "../waybill/metadata.ts";
import type { CallSettings } from "./client.ts";
import { deadlineOf, FORWARDED, metadataOf, onAbort } from "./send.ts";

/** A fetch's deadline, in ms: before the limit of its flight, so that it fails as any call does. */
const FETCH_LIMIT_MS = FLIGHT_LIMIT_MS - 1000;
/** A caller that sends these has a cache of its own. */
const BY_HAND = ["if-none-match", CHANGE_KEY];
/** A response with one of these belongs to its caller alone. */
const OWN_KEYS = [WAYBILL_KEY, SESSION_KEY, "set-cookie"];

/** Makes a call with one response. */
export type Send = (request: unknown, settings: CallSettings) => Promise<unknown>;

/** The parts of a client that a cached call needs. */
export interface CachedCallParts {
  readonly scope: CacheScope;
  /** Makes a call as if there were no cache. */
  readonly plain: Send;
  /** Makes a call with the given metadata alone. */
  readonly send: Send;
  /** The deadline of calls that set none, in ms from their start. */
  readonly timeoutMs: number;
  /** Identifies the caller, where responses are not public; undefined: the caller is unknown. */
  readonly identity: (settings: CallSettings) => Promise<string | undefined>;
}

/** A call whose response may be cached. */
interface CacheableCall {
  readonly bytes: Buffer;
  /** The metadata that the response varies by, and trace context. */
  readonly given: Metadata;
  /** Empty where the response is public. */
  readonly who: string;
  readonly isFresh: boolean;
  readonly resources: readonly string[] | undefined;
  /** The newest change that the client knew of. */
  readonly position: bigint;
}

/** The metadata that came with a response. */
interface Received {
  readonly reply: Metadata;
  readonly trailers: Metadata;
}

/**
 * Makes calls that are answered from a cache while a response there is fresh, and never from one that is
 * older than a change which the cache was told of. A stale response is validated by its ETag. Each caller
 * gets a message of its own.
 *
 * - Of a call's metadata a fetch sends those that the response varies by, trace context, and `authorization`
 *   where the response is the caller's own: nothing else can be in what another caller gets.
 * - With `cache-control: no-cache` the handler answers; `no-store`, `if-none-match` and `change` bypass the
 *   cache, and so does `dpop` where the response is the caller's own.
 * - A response without `cache-control`, or with a waybill, is not cached.
 */
export function cachedCall(
  method: MethodContract,
  definition: ServiceDefinition[string],
  parts: CachedCallParts,
): Send {
  const { scope, plain, timeoutMs } = parts;
  const cache = method.cache!;
  const isValidatedEachTime =
    (cache.maxAge?.seconds ?? 0n) + (cache.staleWhileRevalidate?.seconds ?? 0n) === 0n;

  return async (request, settings = {}) => {
    HandlerTransaction.assertNone(method.path);
    const call = await cacheableCall(method, definition, parts, request, settings);
    if (call === undefined) return plain(request, settings);
    const { fetch, received } = fetching(method, definition, parts, call);
    const waiting = patience(settings, deadlineOf(settings, timeoutMs));
    const varies = JSON.stringify([method.path, call.who, ...valuesOf(call.given, cache.vary)]);
    try {
      const found = await Promise.race([
        scope.get({
          key: `${varies}\n${call.bytes.toString("latin1")}`,
          needs: call.position,
          position: call.position,
          resources: call.resources,
          fresh: call.isFresh || isValidatedEachTime,
          signal: waiting.signal,
          fetch,
          refresh: () => fetch,
        }),
        waiting.gone,
      ]);
      const own = found.isOwn ? received() : undefined;
      settings.onMetadata?.(own?.reply ?? replyOf(found.response, found.ageMs, found.position));
      settings.onTrailers?.(own?.trailers ?? new Metadata());
      return definition.responseDeserialize(Buffer.from(found.response.bytes));
    } finally {
      waiting.end();
    }
  };
}

/** Reads the cache key and directives of a call. Undefined: it bypasses the cache. */
async function cacheableCall(
  method: MethodContract,
  definition: ServiceDefinition[string],
  { scope, identity }: CachedCallParts,
  request: unknown,
  settings: CallSettings,
): Promise<CacheableCall | undefined> {
  const cache = method.cache!;
  const metadata = metadataOf(settings);
  const directives = directivesOf(metadata);
  const isByHand = BY_HAND.some((key) => metadata.get(key).length > 0);
  // The caller may change its metadata before the fetch begins.
  const given = only(metadata, [...cache.vary, ...FORWARDED]);
  const who = cache.public ? "" : await identity(settings);
  // A proof is good for one call alone: a fetch has none of its own.
  const isProven = !cache.public && metadata.get("dpop").length > 0;
  if (who === undefined || isByHand || isProven || directives.has("no-store")) return undefined;
  return {
    bytes: definition.requestSerialize(request),
    given,
    who,
    isFresh: directives.has("no-cache"),
    resources: method.resource ? resourcesIn(request, method.resource) : undefined,
    position: scope.seen,
  };
}

/** Makes the fetch of a call. `received` returns the metadata of its response, once it has one. */
function fetching(
  method: MethodContract,
  definition: ServiceDefinition[string],
  { scope, send }: CachedCallParts,
  call: CacheableCall,
): { fetch: Fetch; received: () => Received | undefined } {
  const { bytes, given, who, isFresh, resources, position } = call;
  let received: Received | undefined;
  const attempt = async (
    base: Metadata,
    signal: AbortSignal,
    known: CachedResponse | undefined,
  ): ReturnType<Fetch> => {
    const sent = base.clone();
    if (known !== undefined) sent.set("if-none-match", known.etag);
    let [reply, trailers] = [new Metadata(), new Metadata()];
    // Decoded again: the caller may change its request after a response to another caller.
    const response = await send(definition.requestDeserialize(bytes), {
      metadata: sent,
      signal,
      timeoutMs: FETCH_LIMIT_MS,
      onMetadata: (metadata) => {
        reply = metadata;
      },
      onTrailers: (metadata) => {
        trailers = metadata;
      },
    });
    const etag = `${reply.get("etag")[0] ?? ""}`;
    const isSame = reply.get("not-modified").length > 0;
    if (isSame && known === undefined) {
      throw new Error(`${method.path} was answered "not modified", but was not asked so`);
    }
    if (isSame && !namesEtag([etag], known!.etag)) return attempt(base, signal, undefined);
    reply.remove("not-modified");
    const told = seeChange(scope, reply);
    const lifetime = lifetimeOf(reply);
    const cached: CachedResponse = {
      bytes: isSame ? known!.bytes : definition.responseSerialize(response),
      etag,
      cacheControl: `${reply.get("cache-control")[0] ?? ""}`,
      lifetime: lifetime ?? { maxAgeMs: 0, staleMs: 0 },
      resources,
      position: told > position ? told : position,
      ageMs: ageOf(reply),
    };
    received = { reply, trailers };
    return { response: cached, isShared: lifetime !== undefined && isAnybodys(reply, method) };
  };
  const fetch: Fetch = async ({ known, signal }) => {
    const base = given.clone();
    if (who !== "") setSecret(base, "authorization", who.slice(who.indexOf(" ") + 1));
    if (isFresh) base.set("cache-control", "no-cache");
    if (position > 0n) base.set(CHANGE_KEY, `${position}`);
    return attempt(base, signal, known !== undefined && known.etag !== "" ? known : undefined);
  };
  return { fetch, received: () => received };
}

/** Reports whether a response is as public as this contract says: a newer service may declare it otherwise. */
function isAnybodys(reply: Metadata, { cache }: MethodContract): boolean {
  if (OWN_KEYS.some((key) => reply.get(key).length > 0)) return false;
  if (cache!.public && !directivesOf(reply).has("public")) return false;
  const varies = reply.get("vary").flatMap((value) => value.toString().toLowerCase().split(","));
  return varies.every((key) => cache!.vary.includes(key.trim()));
}

/** The metadata of a cached response. */
function replyOf(
  { etag, cacheControl }: CachedResponse,
  ageMs: number,
  position: bigint,
): Metadata {
  const reply = new Metadata();
  reply.set("etag", etag);
  reply.set("cache-control", cacheControl);
  reply.set("age", `${Math.floor(ageMs / 1000)}`);
  if (position > 0n) reply.set(CHANGE_KEY, `${position}`);
  return reply;
}

/** Bounds a call's wait for another call's fetch. The timer starts when `signal` is called. */
function patience(
  settings: CallSettings,
  deadline: number,
): { signal(): AbortSignal; gone: Promise<never>; end(): void } {
  const controller = new AbortController();
  const gone = Promise.withResolvers<never>();
  gone.promise.catch(() => {});
  let end: (() => void) | undefined;
  const giveUp = (code: status, details: string) => {
    const error: ServiceError = Object.assign(new Error(`${code} ${status[code]}: ${details}`), {
      code,
      details,
      metadata: new Metadata(),
    });
    gone.reject(error);
    controller.abort(error);
  };
  return {
    gone: gone.promise,
    signal() {
      if (end !== undefined) return controller.signal;
      const timer = setTimeout(
        () => giveUp(status.DEADLINE_EXCEEDED, "Deadline exceeded"),
        Math.min(deadline - Date.now(), 2 ** 31 - 1),
      );
      const stop = onAbort(settings, () => giveUp(status.CANCELLED, "Cancelled on client"));
      end = () => {
        clearTimeout(timer);
        stop();
      };
      return controller.signal;
    },
    end: () => end?.(),
  };
}
