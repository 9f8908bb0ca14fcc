import type { MethodContract } from "../contract/contract.ts";
import { sha256 } from "../runtime/sha256.ts";
import type { Handler } from "./call.ts";

/** Half of what a page token lives: one in an answer that is still good has as long to go. */
const PAGE_LIFE_MS = 12 * 60 * 60 * 1000;

/**
 * Marks the answers of a method that its contract declares cacheable: `etag` (RFC 9110 section
 * 8.8.3), `cache-control` (RFC 9111) and `vary` in the initial metadata. A request whose `if-none-match`
 * names the answer's ETag gets an empty message and `not-modified: 1`.
 *
 * An answer to which the handler has added metadata of its own says `no-store`: it is one caller's.
 *
 * A page's token is sealed anew for each answer, so it does not count for the ETag; but a page is
 * another one every twelve hours, so that no caller keeps one whose token has died.
 *
 * What was encoded for that is the answer, where nobody is to look at it any more: without a session.
 *
 * @param serialize encodes a response
 * @param empty makes a response with nothing in it
 * @param now milliseconds since the Unix epoch
 */
export function revalidation(
  method: MethodContract,
  next: Handler,
  serialize: (response: never) => Buffer,
  empty: () => unknown,
  now: () => number = Date.now,
): Handler {
  if (method.cache === undefined) return next;
  const { maxAge, staleWhileRevalidate, public: isPublic } = method.cache;
  const directives = [isPublic ? "public" : "private", `max-age=${maxAge?.seconds ?? 0n}`];
  if (staleWhileRevalidate) {
    directives.push(`stale-while-revalidate=${staleWhileRevalidate.seconds}`);
  }
  const cacheControl = directives.join(", ");
  const vary = method.cache.vary.join(", ");
  const isMessage = method.session !== undefined;
  return async (request, call) => {
    const response = await next(request, call);
    // What else the handler has sent along is this caller's alone.
    const isOwn = Object.keys(call.reply.getMap()).length > 0;
    const { nextPageToken } = response as { nextPageToken?: string };
    let bytes: Buffer;
    let digest: Buffer;
    if (nextPageToken) {
      const page = serialize({ ...(response as object), nextPageToken: "" } as never);
      digest = sha256(page, `${Math.floor(now() / PAGE_LIFE_MS)}`);
      // Two messages after one another are both in one.
      const token = serialize({ ...(empty() as object), nextPageToken } as never);
      bytes = Buffer.concat([page, token]);
    } else {
      bytes = serialize(response as never);
      digest = sha256(bytes);
    }
    const etag = `"${digest.toString("base64url", 0, 16)}"`;
    call.reply.set("etag", etag);
    call.reply.set("cache-control", isOwn ? "no-store" : cacheControl);
    if (vary !== "") call.reply.set("vary", vary);
    if (!namesEtag(call.headers.get("if-none-match"), etag)) return isMessage ? response : bytes;
    call.reply.set("not-modified", "1");
    return isMessage ? empty() : Buffer.alloc(0);
  };
}

/** An entry of a list of entity tags. Commas within the quotes are the tag's own. */
const ENTITY_TAG = /(?:^|,)[ \t]*(?:W\/)?("[^"]*")(?=[ \t]*(?:,|$))/g;

/** Compares weakly with each entry of the list, or with `*` alone (RFC 9110 sections 8.8.3 and 13.1.2). */
export function namesEtag(ifNoneMatch: readonly (string | Buffer)[], etag: string): boolean {
  if (ifNoneMatch.length === 0) return false;
  const list = ifNoneMatch.join(",").trim();
  return list === "*" || [...list.matchAll(ENTITY_TAG)].some(([, tag]) => tag === etag);
}
