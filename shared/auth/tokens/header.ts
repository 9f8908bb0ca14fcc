import { decodeProtectedHeader } from "jose";
import { isCanonicalCompact } from "../../runtime/base64url.ts";

/**
 * Reads a JWT's header before anything else of it. Allows `alg`, `kid` and `typ` only: a token cannot choose its
 * own key or key address (`jwk`, `jku`, `x5u`) or critical extensions (RFC 8725 sections 3.10 and 3.11). The whole
 * token must be canonical base64url.
 *
 * @param types the allowed values of `typ`; undefined among them: it may be missing
 * @throws Error naming the rule that it breaks
 */
export function readHeader(
  jwt: string,
  types: readonly (string | undefined)[],
): { alg: string; kid: string } {
  if (!isCanonicalCompact(jwt)) throw new Error("the token is not canonical base64url");
  const { alg, kid, typ, ...rest } = decodeProtectedHeader(jwt);
  const [unexpected] = Object.keys(rest);
  if (unexpected !== undefined)
    throw new Error(`the token's header has the parameter ${unexpected}`);
  if (!types.includes(typ)) throw new Error(`the token's typ is ${typ}`);
  if (typeof kid !== "string" || kid.length > 128) throw new Error("the token has no kid");
  if (typeof alg !== "string") throw new Error("the token has no alg");
  return { alg, kid };
}
