import { Metadata, type ServiceError, status } from "@grpc/grpc-js";
import { ageOf, directivesOf, lifetimeOf } from "../cache/cacheControl.ts";
import { type CacheScope, type Fetch, FLIGHT_LIMIT_MS } from "../cache/cacheScope.ts";
import { CHANGE_KEY, seeChange } from "../cache/changeNumbers.ts";
import type { Answer } from "../cache/responseCache.ts";
import type { MethodContract } from "../contract/contract.ts";
import type { ServiceDefinition } from "../contract/handlers.ts";
import { only, resourcesIn, valuesOf } from "../server/caching.ts";
import { namesEtag } from "../server/revalidation.ts";
import { SESSION_KEY, WAYBILL_KEY } from "../waybill/carriers.ts";
import { setSecret } from "../waybill/metadata.ts";
import type { CallSettings } from "./client.ts";

/** A fetch's deadline, in ms: before the limit of its flight, so that it fails as any call does. */
const FETCH_LIMIT_MS = FLIGHT_LIMIT_MS - 1000;
/** Who sends these along takes care of what he has kept himself. */
const BY_HAND = ["if-none-match", CHANGE_KEY];
/** What says whose the answer is, whatever else it says. */
const OWN_KEYS = [WAYBILL_KEY, SESSION_KEY, "set-cookie"];

type Send = (request: unknown, settings: CallSettings) => Promise<unknown>;

/** What a cached call needs of its client. */
export interface CachedCallParts {
  readonly scope: CacheScope;
  /** Makes a call as if there were no cache. */
  readonly plain: Send;
  /** Makes a call with nothing but what it is given. */
  readonly send: Send;
  /** Who calls, where answers are not everybody's; undefined: it cannot be told. */
  readonly identity: (settings: CallSettings) => Promise<string | undefined>;
  /** Metadata that a fetch takes from its call besides those that its answer varies by. */
  readonly forwarded: readonly string[];
  readonly metadataOf: (settings: CallSettings) => Metadata;
  readonly deadline: (settings: CallSettings) => number;
  readonly onAbort: (settings: CallSettings, cancel: () => void) => () => void;
}

/**
 * A call that is answered from what is kept, as long as that is good, and never from anything older than a
 * change that the cache was told of. What is kept but no longer good is validated by its ETag. Each answer
 * is a message of its own.
 *
 * - Of a call's metadata a fetch sends those that the answer varies by, trace context, and `authorization`
 *   where the answer is the caller's own: nothing else can be in what another caller is given.
 * - Who sends `cache-control: no-cache` is answered by the handler; `no-store`, `if-none-match` and
 *   `change` pass the cache by, and so does `dpop` where the answer is the caller's own.
 * - What comes without `cache-control`, or with a waybill, is not kept.
 */
export function cachedCall(
  method: MethodContract,
  definition: ServiceDefinition[string],
  { scope, plain, send, identity, forwarded, metadataOf, deadline, onAbort }: CachedCallParts,
): Send {
  const cache = method.cache!;
  const keys = [...cache.vary, ...forwarded];
  const isValidatedEachTime =
    (cache.maxAge?.seconds ?? 0n) + (cache.staleWhileRevalidate?.seconds ?? 0n) === 0n;
  const decode = (bytes: Buffer) => definition.responseDeserialize(Buffer.from(bytes));

  return async (request, settings) => {
    const metadata = metadataOf(settings);
    const directives = directivesOf(metadata);
    const isByHand = BY_HAND.some((key) => metadata.get(key).length > 0);
    // The caller may change his metadata, and the fetch begin, when another has been waited for.
    const given = only(metadata, keys);
    const who = cache.public ? "" : await identity(settings);
    // A proof is good for one call alone: a fetch has none of its own.
    const isProven = !cache.public && metadata.get("dpop").length > 0;
    if (who === undefined || isByHand || isProven || directives.has("no-store")) {
      return plain(request, settings);
    }

    const bytes = definition.requestSerialize(request);
    const resources = method.resource ? resourcesIn(request, method.resource) : undefined;
    const asked = scope.seen;
    const isFresh = directives.has("no-cache");
    let own: { reply: Metadata; trailers: Metadata } | undefined;
    const fetch: Fetch = async ({ known, signal }) => {
      const base = given.clone();
      if (who !== "") setSecret(base, "authorization", who.slice(who.indexOf(" ") + 1));
      if (isFresh) base.set("cache-control", "no-cache");
      if (asked > 0n) base.set(CHANGE_KEY, `${asked}`);
      const attempt = async (kept: Answer | undefined): ReturnType<Fetch> => {
        const sent = base.clone();
        if (kept !== undefined) sent.set("if-none-match", kept.etag);
        let [reply, trailers] = [new Metadata(), new Metadata()];
        // The caller may change his request when he has been answered by another's.
        const response = await send(definition.requestDeserialize(bytes), {
          metadata: sent,
          signal,
          timeoutMs: FETCH_LIMIT_MS,
          onMetadata: (received) => {
            reply = received;
          },
          onTrailers: (received) => {
            trailers = received;
          },
        });
        const etag = `${reply.get("etag")[0] ?? ""}`;
        const isSame = reply.get("not-modified").length > 0;
        if (isSame && kept === undefined) {
          throw new Error(`${method.path} was answered "not modified", but was not asked so`);
        }
        if (isSame && !namesEtag([etag], kept!.etag)) return attempt(undefined);
        reply.remove("not-modified");
        const told = seeChange(scope, reply);
        const lifetime = lifetimeOf(reply);
        const answer: Answer = {
          bytes: isSame ? kept!.bytes : definition.responseSerialize(response),
          etag,
          cacheControl: `${reply.get("cache-control")[0] ?? ""}`,
          lifetime: lifetime ?? { maxAgeMs: 0, staleMs: 0 },
          resources,
          position: told > asked ? told : asked,
          ageMs: ageOf(reply),
        };
        own = { reply, trailers };
        return { answer, isShared: lifetime !== undefined && isAnybodys(reply, method) };
      };
      return attempt(known !== undefined && known.etag !== "" ? known : undefined);
    };

    const waiting = patience(settings, deadline(settings), onAbort);
    const varies = JSON.stringify([method.path, who, ...valuesOf(given, cache.vary)]);
    try {
      const found = await Promise.race([
        scope.ask({
          key: `${varies}\n${bytes.toString("latin1")}`,
          needs: asked,
          position: asked,
          resources,
          fresh: isFresh || isValidatedEachTime,
          signal: waiting.signal,
          fetch,
          refresh: () => fetch,
        }),
        waiting.gone,
      ]);
      const isOwn = found.isOwn && own !== undefined;
      settings.onMetadata?.(
        isOwn ? own!.reply : replyOf(found.answer, found.ageMs, found.position),
      );
      settings.onTrailers?.(isOwn ? own!.trailers : new Metadata());
      return decode(found.answer.bytes);
    } finally {
      waiting.end();
    }
  };
}

/** Whether an answer is what the contract here says: a newer service may have declared it otherwise. */
function isAnybodys(reply: Metadata, { cache }: MethodContract): boolean {
  if (OWN_KEYS.some((key) => reply.get(key).length > 0)) return false;
  if (cache!.public && !directivesOf(reply).has("public")) return false;
  const varies = reply.get("vary").flatMap((value) => value.toString().toLowerCase().split(","));
  return varies.every((key) => cache!.vary.includes(key.trim()));
}

/** What comes with an answer that was kept. */
function replyOf({ etag, cacheControl }: Answer, ageMs: number, position: bigint): Metadata {
  const reply = new Metadata();
  reply.set("etag", etag);
  reply.set("cache-control", cacheControl);
  reply.set("age", `${Math.floor(ageMs / 1000)}`);
  if (position > 0n) reply.set(CHANGE_KEY, `${position}`);
  return reply;
}

/** How long a call waits for what another may have asked for; set up when it has to wait at all. */
function patience(
  settings: CallSettings,
  deadline: number,
  onAbort: CachedCallParts["onAbort"],
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
