import type { HttpBody } from "#proto/google/api/httpbody.ts";
import type { TokenDependencies } from "../index.ts";

/** Returns the public keys of access tokens as a JWK set (RFC 7517). */
export const getJwks =
  ({ keys }: Pick<TokenDependencies, "keys">) =>
  async (): Promise<HttpBody> => {
    const jwks = keys.published.map(({ id, algorithm, publicJwk: { kty, crv, x, y } }) => ({
      kty,
      crv,
      x,
      ...(y && { y }),
      kid: id,
      alg: algorithm,
      use: "sig",
    }));
    return json("application/jwk-set+json", { keys: jwks });
  };

/** Makes a JSON body. */
export function json(contentType: string, content: object): HttpBody {
  return { contentType, data: Buffer.from(JSON.stringify(content)), extensions: [] };
}
