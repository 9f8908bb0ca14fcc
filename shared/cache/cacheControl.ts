import type { Metadata } from "@grpc/grpc-js";
import type { Lifetime } from "./responseCache.ts";

/** Parses `cache-control` metadata (RFC 9111 section 5.2): each directive, with its argument or "". */
export function directivesOf(metadata: Pick<Metadata, "get">): ReadonlyMap<string, string> {
  const found = new Map<string, string>();
  for (const value of metadata.get("cache-control")) {
    for (const directive of value.toString().toLowerCase().split(",")) {
      const [name = "", argument = ""] = directive.trim().split("=", 2);
      if (name !== "") found.set(name, argument);
    }
  }
  return found;
}

/** Returns how long a response may be used. Undefined: it has no valid `max-age`, or says `no-store`. */
export function lifetimeOf(metadata: Metadata): Lifetime | undefined {
  const directives = directivesOf(metadata);
  const maxAgeMs = milliseconds(directives.get("max-age"));
  if (maxAgeMs === undefined || directives.has("no-store")) return undefined;
  return { maxAgeMs, staleMs: milliseconds(directives.get("stale-while-revalidate")) ?? 0 };
}

/** Returns a response's age when it was sent (RFC 9111 section 5.1), in ms. A malformed age is infinite. */
export function ageOf(metadata: Metadata): number {
  const [age] = metadata.get("age");
  if (age === undefined) return 0;
  return milliseconds(age.toString()) ?? Number.POSITIVE_INFINITY;
}

function milliseconds(seconds: string | undefined): number | undefined {
  return seconds !== undefined && /^\d{1,10}$/.test(seconds) ? Number(seconds) * 1000 : undefined;
}
