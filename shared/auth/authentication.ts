import type { Metadata } from "@grpc/grpc-js";
import type { MethodContract } from "../contract/contract.ts";
import type { Caller } from "../contract/handlers.ts";
import { Errors, StatusError } from "../errors.ts";
import type { Call } from "../server/call.ts";
import { singleValue } from "../waybill/metadata.ts";
import type { AccessTokens } from "./tokens/accessTokens.ts";
import type { AccessToken } from "./tokens/claims.ts";
import { PROOF_LIFE_S, Proofs } from "./tokens/dpop.ts";
import type { Revocations } from "./tokens/revocations.ts";

/** Options of the authentication of callers. */
export interface TokenAuthenticationOptions {
  tokens: AccessTokens;
  revocations: Revocations;
  /** The public addresses of this system, such as `https://api.example.com`. */
  origins: readonly string[];
  /** Milliseconds since the Unix epoch. */
  now?: () => number;
}

/** Authenticates callers by their access tokens. No other code sets a call's caller. */
export class TokenAuthentication {
  readonly #options: TokenAuthenticationOptions;
  readonly tokens: AccessTokens;
  readonly proofs: Proofs;
  #spend: ((id: string, lifeS: number) => Promise<boolean>) | undefined;

  constructor(options: TokenAuthenticationOptions) {
    this.#options = options;
    this.tokens = options.tokens;
    this.proofs = new Proofs(options.now);
  }

  /**
   * Allows methods whose DPoP proofs are single-use.
   *
   * @param spend records a use of an id; true the first time, on any replica
   */
  spendBy(spend: (id: string, lifeS: number) => Promise<boolean>): void {
    this.#spend = spend;
  }

  /** Returns whether it can check a method's proofs: single-use proofs need `spendBy`. */
  canCheck({ singleUseProof }: MethodContract): boolean {
    return !singleUseProof || this.#spend !== undefined;
  }

  /**
   * Returns the caller that an access token names (RFC 9068 section 4). Checks its signature, expiry, audience,
   * revocation, proof of possession and scopes.
   *
   * @returns undefined when the call has no token
   * @throws StatusError CREDENTIAL_INVALID for any failed check; ACCESS_DENIED when a scope is missing;
   *   KEYS_UNAVAILABLE, REVOCATIONS_STALE
   */
  async caller(call: Call, method: MethodContract): Promise<Caller | undefined> {
    const presented = presentedToken(call.headers);
    if (presented === undefined) return undefined;
    const verified = this.tokens.verify(presented.jwt);
    const token = verified instanceof Promise ? await verified : verified;
    if (method.audience === undefined || !token.audiences.includes(method.audience)) {
      throw Errors.CREDENTIAL_INVALID({ cause: "the token is for another audience" });
    }
    this.assertNotRevoked(token);
    await this.#assertPossession(call, method, presented, token);
    for (const scope of method.scopes) {
      if (token.scopes.includes(scope)) continue;
      throw Errors.ACCESS_DENIED({ metadata: { method: method.path, scope } });
    }
    return { token, jwt: presented.jwt };
  }

  /** @throws StatusError CREDENTIAL_INVALID, REVOCATIONS_STALE */
  assertNotRevoked({ subject, epoch, family, id }: AccessToken): void {
    const { revocations } = this.#options;
    revocations.assertFresh();
    if (revocations.has({ subject, epoch, family, token: id })) {
      throw Errors.CREDENTIAL_INVALID({ cause: "the token is revoked" });
    }
  }

  /** Returns the public addresses of a method. */
  urlsOf(path: string): string[] {
    return this.#options.origins.map((origin) => `${origin}${path}`);
  }

  async #assertPossession(
    call: Call,
    method: MethodContract,
    { jwt, scheme }: Presented,
    { confirmation }: AccessToken,
  ): Promise<void> {
    const isBoundToKey = confirmation?.method === "jkt";
    if ((scheme === "dpop") !== isBoundToKey) {
      throw Errors.CREDENTIAL_INVALID({
        cause: `the token's cnf does not allow the scheme ${scheme}`,
      });
    }
    if (confirmation === undefined) return;
    if (!isBoundToKey) {
      if (call.origin.certificate === confirmation.thumbprint) return;
      throw Errors.CREDENTIAL_INVALID({
        cause: "the token is bound to another client certificate",
      });
    }
    try {
      const proof = singleValue(call.headers, "dpop");
      if (proof === undefined) throw new Error("the call has no DPoP proof");
      const { thumbprint, id } = await this.proofs.verify(proof, this.urlsOf(method.path), jwt);
      if (thumbprint !== confirmation.thumbprint)
        throw new Error("the token is bound to another key than the proof's");
      if (!method.singleUseProof) return;
      const first = await this.#spend?.(JSON.stringify(["dpop", thumbprint, id]), 2 * PROOF_LIFE_S);
      if (!first) throw new Error("the proof was used before");
    } catch (cause) {
      if (cause instanceof StatusError) throw cause;
      throw Errors.CREDENTIAL_INVALID({ cause });
    }
  }
}

interface Presented {
  readonly jwt: string;
  readonly scheme: "bearer" | "dpop";
}

/** @throws StatusError METADATA_DUPLICATED, CREDENTIAL_INVALID */
function presentedToken(metadata: Pick<Metadata, "get">): Presented | undefined {
  const text = singleValue(metadata, "authorization");
  if (text === undefined) return undefined;
  const [, scheme, jwt] = /^(bearer|dpop) ([\w-]+\.[\w-]+\.[\w-]+)$/i.exec(text) ?? [];
  if (scheme === undefined || jwt === undefined) {
    throw Errors.CREDENTIAL_INVALID({ cause: "authorization is not a Bearer or DPoP token" });
  }
  return { jwt, scheme: scheme.toLowerCase() as Presented["scheme"] };
}
