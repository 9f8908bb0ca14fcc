import { type Context, StatusError } from "waybill";
import type { TokenAuthentication } from "waybill/auth";
import type { Confirmation } from "#shared/auth/tokens/claims.ts";
import { PROOF_LIFE_S } from "#shared/auth/tokens/dpop.ts";
import { singleValue } from "#shared/waybill/metadata.ts";
import { TokenErrors } from "../errors.ts";
import type { Spending } from "../spending.ts";

/** Verifies the key that a call proves. The issued tokens are bound to it. */
export class Binding {
  readonly #authentication: Pick<TokenAuthentication, "proofs" | "urlsOf">;
  readonly #spending: Spending;

  constructor(authentication: Pick<TokenAuthentication, "proofs" | "urlsOf">, spending: Spending) {
    this.#authentication = authentication;
    this.#spending = spending;
  }

  /**
   * Returns the key of the call's DPoP proof, which is accepted once (RFC 9449 section 11.1), or of its
   * client certificate (RFC 8705 section 3).
   *
   * @returns undefined when the call has neither
   * @throws StatusError INVALID_DPOP_PROOF
   */
  async of({ metadata, method, origin }: Context): Promise<Confirmation | undefined> {
    const proof = singleValue(metadata, "dpop");
    if (proof === undefined) {
      const { certificate: thumbprint } = origin;
      return thumbprint === undefined ? undefined : { method: "x5t#S256", thumbprint };
    }
    try {
      const { proofs } = this.#authentication;
      const urls = this.#authentication.urlsOf(method);
      const { thumbprint, id } = await proofs.verify(proof, urls, undefined);
      const use = JSON.stringify(["dpop", thumbprint, id]);
      if (!(await this.#spending.once(use, 2 * PROOF_LIFE_S))) {
        throw new Error("replayed proof");
      }
      return { method: "jkt", thumbprint };
    } catch (cause) {
      if (cause instanceof StatusError) throw cause;
      throw TokenErrors.INVALID_DPOP_PROOF({ cause });
    }
  }
}

/** Formats a binding as `jkt:` or `x5t#S256:` and the thumbprint. Empty: none. */
export function toText(confirmation: Confirmation | undefined): string {
  return confirmation === undefined ? "" : `${confirmation.method}:${confirmation.thumbprint}`;
}
