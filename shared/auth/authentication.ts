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

/** What the check of access tokens needs. */
export interface TokenAuthenticationOptions {
  tokens: AccessTokens;
  revocations: Revocations;
  /** The addresses that callers know this system by, such as `https://api.example.com`. */
  origins: readonly string[];
  /** Milliseconds since the Unix epoch. */
  now?: () => number;
}

/** Checks the access token that a call brings: the only place where a caller becomes known. */
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
   * Takes methods whose proofs are for a single use from now on.
   *
   * @param spend notes that something was used: true the first time, on any replica
   */
  spendBy(spend: (id: string, lifeS: number) => Promise<boolean>): void {
    this.#spend = spend;
  }

  /** Whether a method's proofs can be checked as its contract says. */
  canCheck({ singleUseProof }: MethodContract): boolean {
    return !singleUseProof || this.#spend !== undefined;
  }

  /**
   * Who calls, by his access token (RFC 9068 section 4): its signature and life, its audience, that
   * it is not revoked, that its holder proves the key it is bound to, and that it allows the method.
   *
   * @returns undefined when the call brings no token
   * @throws StatusError CREDENTIAL_INVALID, whatever is amiss; ACCESS_DENIED when a scope is missing;
   *   KEYS_UNAVAILABLE, REVOCATIONS_STALE
   */
  async caller(call: Call, method: MethodContract): Promise<Caller | undefined> {
    const presented = presentedToken(call.headers);
    if (presented === undefined) return undefined;
    const verified = this.tokens.verify(presented.jwt);
    const token = verified instanceof Promise ? await verified : verified;
    if (method.audience === undefined || !token.audiences.includes(method.audience)) {
      throw Errors.CREDENTIAL_INVALID({ cause: "it is for another audience" });
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
      throw Errors.CREDENTIAL_INVALID({ cause: "it is revoked" });
    }
  }

  /** The addresses of a method, as callers know them. */
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
      throw Errors.CREDENTIAL_INVALID({ cause: `cnf and the scheme ${scheme} do not go together` });
    }
    if (confirmation === undefined) return;
    if (!isBoundToKey) {
      if (call.origin.certificate === confirmation.thumbprint) return;
      throw Errors.CREDENTIAL_INVALID({ cause: "the certificate is not the token's" });
    }
    try {
      const proof = singleValue(call.headers, "dpop");
      if (proof === undefined) throw new Error("there is no proof");
      const { thumbprint, id } = await this.proofs.verify(proof, this.urlsOf(method.path), jwt);
      if (thumbprint !== confirmation.thumbprint) throw new Error("the proof is of another key");
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
    throw Errors.CREDENTIAL_INVALID({ cause: "authorization is no Bearer or DPoP token" });
  }
  return { jwt, scheme: scheme.toLowerCase() as Presented["scheme"] };
}
