import { createHash } from "node:crypto";
import type { Handler } from "./call.ts";
import type { MethodContract } from "./contract.ts";

/**
 * Marks the answers of a method that its contract declares cacheable: `etag` (RFC 9110 section
 * 8.8.3) and `cache-control` (RFC 9111) in the initial metadata. A request whose `if-none-match`
 * names the answer's ETag gets an empty message and `not-modified: 1`.
 *
 * @param serialize encodes a response
 * @param empty makes a response with nothing in it
 */
export function revalidation(
  method: MethodContract,
  next: Handler,
  serialize: (response: never) => Buffer,
  empty: () => unknown,
): Handler {
  if (method.cache === undefined) return next;
  const { maxAge, staleWhileRevalidate, public: isPublic } = method.cache;
  const directives = [isPublic ? "public" : "private", `max-age=${maxAge?.seconds ?? 0n}`];
  if (staleWhileRevalidate) {
    directives.push(`stale-while-revalidate=${staleWhileRevalidate.seconds}`);
  }
  const cacheControl = directives.join(", ");
  return async (request, call) => {
    const response = await next(request, call);
    const digest = createHash("sha256")
      .update(serialize(response as never))
      .digest("base64url");
    const etag = `"${digest.slice(0, 22)}"`;
    call.reply.set("etag", etag);
    call.reply.set("cache-control", cacheControl);
    if (!names(call.metadata.get("if-none-match"), etag)) return response;
    call.reply.set("not-modified", "1");
    return empty();
  };
}

/** Weak comparison with each entry of the list, or `*` (RFC 9110 section 13.1.2). */
function names(ifNoneMatch: readonly (string | Buffer)[], etag: string): boolean {
  return ifNoneMatch
    .flatMap((value) => value.toString().split(","))
    .map((entry) => entry.trim().replace(/^W\//, ""))
    .some((entry) => entry === "*" || entry === etag);
}
