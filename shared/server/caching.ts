import { Metadata, type ServerUnaryCall } from "@grpc/grpc-js";
import { directivesOf } from "../cache/cacheControl.ts";
import type { CacheScope, Fetch, Fetched, Found } from "../cache/cacheScope.ts";
import { CHANGE_KEY, changeIn } from "../cache/changeNumbers.ts";
import type { MethodContract } from "../contract/contract.ts";
import type { Caller } from "../contract/handlers.ts";
import { Call, type Handler } from "./call.ts";
import { namesEtag } from "./revalidation.ts";

/** Metadata that a response may have and still be shared between callers. */
const SHARED_KEYS: ReadonlySet<string> = new Set(["etag", "cache-control", "vary"]);

/**
 * Returns cached responses of methods that the contract declares cacheable and without a session, before the
 * request is decoded. The cache key has the method, the request's bytes, the metadata that the response
 * varies by and, unless the response is public, the caller's verified token. The handler sees no other
 * property of the call, so a cached response cannot contain another caller's data.
 *
 * - `cache-control: no-cache` calls the handler, `no-store` also caches nothing (RFC 9111 section 5.2.1).
 * - `change: N` gets no response from before change N.
 * - Concurrent calls with the same key share one fetch. It is cancelled when all of them have given up.
 * - A response with metadata of its own, such as a waybill, is not cached.
 *
 * @param next takes the request's bytes
 * @param serialize encodes a response
 * @param enter takes a place on the server for a fetch that no call waits for
 */
export function caching(
  method: MethodContract,
  next: Handler,
  serialize: (response: never) => Buffer,
  scope: CacheScope,
  enter: () => (() => void) | undefined,
): Handler {
  const { cache, session, path } = method;
  if (cache === undefined || session !== undefined) return next;
  const lifetime = {
    maxAgeMs: Number(cache.maxAge?.seconds ?? 0n) * 1000,
    staleMs: Number(cache.staleWhileRevalidate?.seconds ?? 0n) * 1000,
  };
  if (lifetime.maxAgeMs + lifetime.staleMs === 0) return next;
  const vary = cache.vary.join(", ");
  const publicKey = JSON.stringify([path, ""]);
  return async (request, call) => {
    const bytes = request as Buffer;
    const identity = cache.public ? "" : identityOf(call.caller);
    const directives = directivesOf(call.headers);
    if (identity === undefined || directives.has("no-store")) return next(bytes, call);
    const prefix =
      identity === "" && vary === ""
        ? publicKey
        : JSON.stringify([path, identity, ...valuesOf(call.headers, cache.vary)]);
    const { position } = scope;
    let own: Metadata | undefined;
    const fetch: Fetch = async ({ signal }) => {
      const fetching = new FetchCall(path, call.caller, only(call.headers, cache.vary), signal);
      const response = await next(bytes, fetching);
      const encoded = Buffer.isBuffer(response) ? response : serialize(response as never);
      const fetched = toFetched(encoded, fetching, { lifetime, position, ageMs: 0 });
      if (!fetched.isShared) own = fetching.reply;
      return fetched;
    };
    const found = await scope.get({
      key: `${prefix}\n${bytes.toString("latin1")}`,
      needs: changeIn(call.headers),
      position,
      fresh: directives.has("no-cache"),
      signal: () => call.signal,
      fetch,
      refresh: () => {
        const leave = enter();
        return leave && ((how) => keepingPlace(leave, fetch(how), how.signal));
      },
    });
    if (found.isOwn && own !== undefined) call.reply.merge(own);
    return respond(found, call, vary);
  };
}

/** Reads the headers that `revalidation` has set, and decides whether other callers may get the response. */
function toFetched(
  bytes: Buffer,
  { reply, resources }: FetchCall,
  rest: Pick<Fetched["response"], "lifetime" | "position" | "ageMs">,
): Fetched {
  const [etag] = reply.get("etag");
  const [cacheControl] = reply.get("cache-control");
  const isShared =
    cacheControl !== "no-store" && Object.keys(reply.getMap()).every((key) => SHARED_KEYS.has(key));
  const response = { bytes, etag: `${etag}`, cacheControl: `${cacheControl}`, resources, ...rest };
  return { response, isShared };
}

/** Sets the response's metadata. @returns its bytes; none if the caller has it already */
function respond({ response, isOwn, position, ageMs }: Found, call: Call, vary: string): Buffer {
  call.reply.set("etag", response.etag);
  call.reply.set("cache-control", response.cacheControl);
  if (vary !== "") call.reply.set("vary", vary);
  if (position > 0n) call.reply.set(CHANGE_KEY, `${position}`);
  if (!isOwn) call.reply.set("age", `${Math.floor(ageMs / 1000)}`);
  if (!namesEtag(call.headers.get("if-none-match"), response.etag)) return response.bytes;
  call.reply.set("not-modified", "1");
  return Buffer.alloc(0);
}

/** Frees a fetch's place when it ends or is cancelled, even if the handler ignores the cancellation. */
async function keepingPlace<Result>(
  leave: () => void,
  fetching: Promise<Result>,
  signal: AbortSignal,
): Promise<Result> {
  const left = new Promise<void>((resolve) => {
    signal.addEventListener("abort", () => resolve(), { once: true });
  });
  void Promise.race([fetching, left]).then(leave, leave);
  return fetching;
}

/** Records the resources that a request names, for the cache. */
export function recordingResources({ resource }: MethodContract, next: Handler): Handler {
  if (resource === undefined) return next;
  return (request, call) => {
    if (call instanceof FetchCall) call.resources = resourcesIn(request, resource);
    return next(request, call);
  };
}

/** A name with a wildcard (AIP-159), or an empty one. */
const MANY = /^$|(^|\/)-(\/|$)/;

/** Returns the resources that a request's field names; undefined if it could be any. */
export function resourcesIn(request: unknown, field: string): readonly string[] | undefined {
  const value = (request as Record<string, string | string[] | undefined>)[field] ?? [];
  const names = Array.isArray(value) ? [...value] : [value];
  return names.length === 0 || names.some((name) => MANY.test(name)) ? undefined : names;
}

/** Encodes everything that a handler can see of its caller; undefined for an unknown caller. */
function identityOf({ jwt, service, oneTimeKey }: Caller): string | undefined {
  if (jwt !== undefined) return `token ${jwt}`;
  if (service !== undefined) return `service ${JSON.stringify([service, oneTimeKey ?? null])}`;
  return undefined;
}

/** Copies the metadata with these keys only. */
export function only(metadata: Pick<Metadata, "get">, keys: readonly string[]): Metadata {
  const selected = new Metadata();
  for (const key of keys) for (const value of metadata.get(key)) selected.add(key, value);
  return selected;
}

export function valuesOf(metadata: Pick<Metadata, "get">, keys: readonly string[]): string[][] {
  return keys.map((key) => metadata.get(key).map((value) => value.toString("latin1")));
}

/** The call that fetches a response for all callers with the same cache key. */
class FetchCall extends Call {
  readonly #signal: AbortSignal;
  /** Set when the request has been decoded. */
  resources: readonly string[] | undefined;

  constructor(path: string, caller: Caller, metadata: Metadata, signal: AbortSignal) {
    const call = { metadata, getDeadline: () => Number.POSITIVE_INFINITY, getPeer: () => "" };
    super(path, call as unknown as ServerUnaryCall<unknown, unknown>);
    this.caller = caller;
    this.#signal = signal;
  }

  override get signal(): AbortSignal {
    return this.#signal;
  }
}
