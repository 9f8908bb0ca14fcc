import type { AccessToken } from "waybill/auth";
import type { TokenResponse } from "#proto/waybill/token/v1/token.ts";
import type { Confirmation } from "#shared/auth/tokens/claims.ts";
import type { Client } from "../clients/clients.ts";
import { TokenErrors } from "../errors.ts";
import type { SigningKeys } from "../signingKeys/signingKeys.ts";
import { type Claims, mint } from "./mint.ts";

/** Claims that a grant decides. */
export type Issue = Pick<Claims, "subject" | "client" | "scopes" | "audiences" | "epoch"> &
  Partial<Pick<Claims, "family" | "actors" | "mayAct" | "confirmation">> & {
    /** Latest expiry, in seconds since the Unix epoch. */
    readonly until?: number;
  };

/** Issues access tokens. */
export class Issuing {
  readonly #issuer: string;
  readonly #keys: SigningKeys;
  readonly #lifeS: number;
  readonly #now: () => number;

  /**
   * @param lifeS life of an access token, in seconds
   * @param now milliseconds since the Unix epoch
   */
  constructor(issuer: string, keys: SigningKeys, lifeS: number, now: () => number = Date.now) {
    this.#issuer = issuer;
    this.#keys = keys;
    this.#lifeS = lifeS;
    this.#now = now;
  }

  /** Issues an access token. @throws StatusError INVALID_GRANT when `until` has passed */
  issue({ until, ...claims }: Issue, refreshToken = ""): TokenResponse {
    const nowS = Math.floor(this.#now() / 1000);
    const expiresAt = Math.min(nowS + this.#lifeS, Math.floor(until ?? Number.POSITIVE_INFINITY));
    if (expiresAt <= nowS) throw TokenErrors.INVALID_GRANT({ cause: "expired" });
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
 * Requires a bound token where the client's account or one of the source tokens requires it. Otherwise an
 * exchange would turn a stolen bound token into a bearer token.
 *
 * @param bound key that the new token is bound to
 * @param sources tokens that the new token is issued for
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
