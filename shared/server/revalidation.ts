import type { MethodContract } from "../contract/contract.ts";
import { sha256 } from "../runtime/sha256.ts";
import type { Handler } from "./call.ts";

/** Half the lifetime of a page token: the token of a page that is still valid lives at least as long. */
const PAGE_LIFE_MS = 12 * 60 * 60 * 1000;

/**
 * Sets `etag` (RFC 9110 section 8.8.3), `cache-control` (RFC 9111) and `vary` in the initial metadata of a
 * method that the contract declares cacheable. A request whose `if-none-match` lists the response's ETag gets
 * an empty message and `not-modified: 1`.
 *
 * A response to which the handler has added metadata gets `no-store`: it belongs to one caller.
 *
 * A page token is sealed anew for each response, so the ETag does not cover it. The ETag of a page changes
 * every twelve hours, so that no caller keeps a page whose token has expired.
 *
 * Returns the encoded response if no session interceptor reads it afterwards.
 *
 * @param serialize encodes a response
 * @param empty creates an empty response
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
    // Other metadata from the handler belong to this caller.
    const isOwn = Object.keys(call.reply.getMap()).length > 0;
    const { nextPageToken } = response as { nextPageToken?: string };
    let bytes: Buffer;
    let digest: Buffer;
    if (nextPageToken) {
      const page = serialize({ ...(response as object), nextPageToken: "" } as never);
      digest = sha256(page, `${Math.floor(now() / PAGE_LIFE_MS)}`);
      // In protobuf, two concatenated messages decode as one merged message.
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

/** An entry of a list of entity tags. Commas within quotes belong to the tag. */
const ENTITY_TAG = /(?:^|,)[ \t]*(?:W\/)?("[^"]*")(?=[ \t]*(?:,|$))/g;

/** Compares the ETag weakly with a list of entries or with `*` (RFC 9110 sections 8.8.3 and 13.1.2). */
export function namesEtag(ifNoneMatch: readonly (string | Buffer)[], etag: string): boolean {
  if (ifNoneMatch.length === 0) return false;
  const list = ifNoneMatch.join(",").trim();
  return list === "*" || [...list.matchAll(ENTITY_TAG)].some(([, tag]) => tag === etag);
}
