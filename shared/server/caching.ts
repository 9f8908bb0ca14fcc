import { Metadata, type ServerUnaryCall } from "@grpc/grpc-js";
import { directivesOf } from "../cache/cacheControl.ts";
import type { CacheScope, Fetch } from "../cache/cacheScope.ts";
import { CHANGE_KEY, changeIn } from "../cache/changeNumbers.ts";
import type { MethodContract } from "../contract/contract.ts";
import type { Caller } from "../contract/handlers.ts";
import { Call, type Handler } from "./call.ts";
import { namesEtag } from "./revalidation.ts";

/** What an answer may carry besides its message, and still be anybody's. */
const SHARED_KEYS: ReadonlySet<string> = new Set(["etag", "cache-control", "vary"]);

/**
 * Answers from what is kept, where the contract declares a method cacheable and without a session: then
 * nothing is decoded, checked or asked of the handler. An answer is found by the method, the request's bytes
 * as they came, the metadata that the contract says it varies by and, unless it is public, the caller, by
 * the very token that he has proven himself with. The handler sees nothing else of a call: so nothing else
 * can be in what another caller is answered.
 *
 * - `cache-control: no-cache` has the handler asked, `no-store` has nothing kept (RFC 9111 section 5.2.1).
 * - `change: N` is answered by nothing that has not heard of change N.
 * - Calls for the same at the same time are answered by one. It ends when all have given up.
 * - What has metadata of its own, such as a waybill, is not kept.
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
  // What must be validated each time is the handler's to answer.
  if (lifetime.maxAgeMs + lifetime.staleMs === 0) return next;
  const vary = cache.vary.join(", ");
  const everybody = JSON.stringify([path, ""]);
  return async (request, call) => {
    const bytes = request as Buffer;
    const who = cache.public ? "" : identityOf(call.caller);
    const directives = directivesOf(call.headers);
    if (who === undefined || directives.has("no-store")) return next(bytes, call);
    const asked =
      who === "" && vary === ""
        ? everybody
        : JSON.stringify([path, who, ...valuesOf(call.headers, cache.vary)]);
    const { position } = scope;
    let own: Metadata | undefined;
    const fetch: Fetch = async ({ signal }) => {
      const fetching = new FetchCall(path, call.caller, only(call.headers, cache.vary), signal);
      const response = await next(bytes, fetching);
      const { reply, resources } = fetching;
      const [etag, cacheControl] = ["etag", "cache-control"].map((key) => `${reply.get(key)[0]}`);
      const answer = {
        bytes: Buffer.isBuffer(response) ? response : serialize(response as never),
        etag: etag!,
        cacheControl: cacheControl!,
        lifetime,
        resources,
        position,
        ageMs: 0,
      };
      // What the handler has set of these by itself is its caller's: then they say so.
      const isShared =
        cacheControl !== "no-store" &&
        Object.keys(reply.getMap()).every((key) => SHARED_KEYS.has(key));
      if (!isShared) own = reply;
      return { answer, isShared };
    };
    const found = await scope.ask({
      key: `${asked}\n${bytes.toString("latin1")}`,
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
    const { answer, isOwn } = found;
    if (isOwn && own !== undefined) call.reply.merge(own);
    call.reply.set("etag", answer.etag);
    call.reply.set("cache-control", answer.cacheControl);
    if (vary !== "") call.reply.set("vary", vary);
    if (found.position > 0n) call.reply.set(CHANGE_KEY, `${found.position}`);
    if (!isOwn) call.reply.set("age", `${Math.floor(found.ageMs / 1000)}`);
    if (!namesEtag(call.headers.get("if-none-match"), answer.etag)) return answer.bytes;
    call.reply.set("not-modified", "1");
    return Buffer.alloc(0);
  };
}

/** Frees a fetch's place when it ends, or is told to. */
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

/** Notes which resources a request names, for the cache that asks. */
export function noting({ resource }: MethodContract, next: Handler): Handler {
  if (resource === undefined) return next;
  return (request, call) => {
    if (call instanceof FetchCall) call.resources = resourcesIn(request, resource);
    return next(request, call);
  };
}

/** A name that stands for many (AIP-159), or for none in particular. */
const MANY = /^$|(^|\/)-(\/|$)/;

/** The resources that a request's field names; undefined: it does not say which. */
export function resourcesIn(request: unknown, field: string): readonly string[] | undefined {
  const value = (request as Record<string, string | string[] | undefined>)[field] ?? [];
  const names = Array.isArray(value) ? [...value] : [value];
  return names.length === 0 || names.some((name) => MANY.test(name)) ? undefined : names;
}

/** Everything that a handler can see of its caller; undefined: there is nobody to be told from others. */
function identityOf({ jwt, service, oneTimeKey }: Caller): string | undefined {
  if (jwt !== undefined) return `token ${jwt}`;
  if (service !== undefined) return `service ${JSON.stringify([service, oneTimeKey ?? null])}`;
  return undefined;
}

/** Of metadata those keys alone. */
export function only(metadata: Pick<Metadata, "get">, keys: readonly string[]): Metadata {
  const kept = new Metadata();
  for (const key of keys) for (const value of metadata.get(key)) kept.add(key, value);
  return kept;
}

/** The values of some keys, each in a text of its own. */
export function valuesOf(metadata: Pick<Metadata, "get">, keys: readonly string[]): string[][] {
  return keys.map((key) => metadata.get(key).map((value) => value.toString("latin1")));
}

/** The call that a cache makes for all who ask the same: of theirs it has what they have in common. */
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
