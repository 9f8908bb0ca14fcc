import { decodeProtectedHeader } from "jose";
import { isCanonicalCompact } from "../../runtime/base64url.ts";

/**
 * Reads a JWT's header before anything else is done with it: `alg`, `kid`, `typ`, and not a parameter
 * more, so no key or address of the token's own choosing (`jwk`, `jku`, `x5u`), and nothing critical
 * (RFC 8725 sections 3.10 and 3.11). The whole token must be canonical base64url.
 *
 * @param types what `typ` may be; undefined among them: it may be missing
 * @throws Error saying what is amiss
 */
export function readHeader(
  jwt: string,
  types: readonly (string | undefined)[],
): { alg: string; kid: string } {
  if (!isCanonicalCompact(jwt)) throw new Error("it is not canonical base64url");
  const { alg, kid, typ, ...rest } = decodeProtectedHeader(jwt);
  const [unexpected] = Object.keys(rest);
  if (unexpected !== undefined) throw new Error(`its header has a parameter ${unexpected}`);
  if (!types.includes(typ)) throw new Error(`its type is ${typ}`);
  if (typeof kid !== "string" || kid.length > 128) throw new Error("it names no key");
  if (typeof alg !== "string") throw new Error("it names no algorithm");
  return { alg, kid };
}
