import type { TokenResponse } from "#proto/waybill/token/v1/token.ts";
import type { AccessToken, Confirmation } from "#shared/auth/tokens/claims.ts";
import type { Client } from "../clients/clients.ts";
import { TokenErrors } from "../errors.ts";
import type { SigningKeys } from "../signingKeys/signingKeys.ts";
import { type Claims, mint } from "./mint.ts";

/** What an access token is to say; the rest follows from it. */
export type Issue = Pick<Claims, "subject" | "client" | "scopes" | "audiences" | "epoch"> &
  Partial<Pick<Claims, "family" | "actors" | "mayAct" | "confirmation">> & {
    /** It must not outlive this: seconds since the Unix epoch. */
    readonly until?: number;
  };

/** Makes access tokens, and the answer that they go in. */
export class Issuing {
  readonly #issuer: string;
  readonly #keys: SigningKeys;
  readonly #lifeS: number;
  readonly #now: () => number;

  /**
   * @param lifeS how long an access token lives
   * @param now milliseconds since the Unix epoch
   */
  constructor(issuer: string, keys: SigningKeys, lifeS: number, now: () => number = Date.now) {
    this.#issuer = issuer;
    this.#keys = keys;
    this.#lifeS = lifeS;
    this.#now = now;
  }

  /** @throws StatusError INVALID_GRANT when what it is made from ends now */
  issue({ until, ...claims }: Issue, refreshToken = ""): TokenResponse {
    const nowS = Math.floor(this.#now() / 1000);
    const expiresAt = Math.min(nowS + this.#lifeS, Math.floor(until ?? Number.POSITIVE_INFINITY));
    if (expiresAt <= nowS) throw TokenErrors.INVALID_GRANT({ cause: "it ends now" });
    const complete: Claims = {
      family: undefined,
      actors: [],
      mayAct: undefined,
      confirmation: undefined,
      ...claims,
      expiresAt,
    };
    return {
      accessToken: mint(this.#issuer, this.#keys.current("access"), complete, nowS),
      tokenType: complete.confirmation?.method === "jkt" ? "DPoP" : "Bearer",
      expiresInSeconds: expiresAt - nowS,
      refreshToken,
      scopes: [...claims.scopes],
      audiences: [...claims.audiences],
    };
  }
}

/**
 * Refuses to issue a token that is bound to no key, where the client's tokens must be, or one of those
 * that it is made from is: otherwise an exchange would make a stolen bound token usable without its key.
 *
 * @param bound what the new token is bound to
 * @param sources the tokens that it is made from
 * @throws StatusError BINDING_REQUIRED
 */
export function checkBinding(
  client: Client | undefined,
  bound: Confirmation | undefined,
  ...sources: readonly (Pick<AccessToken, "confirmation"> | undefined)[]
): void {
  const isRequired =
    client?.requireBinding || sources.some((source) => source?.confirmation !== undefined);
  if (isRequired && bound === undefined) throw TokenErrors.BINDING_REQUIRED();
}
