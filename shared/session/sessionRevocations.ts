import type { Revocations } from "../auth/tokens/revocations.ts";

/** What is revoked, and where to say that something is. */
export interface SessionRevocations {
  readonly revocations: Pick<Revocations, "assertFresh" | "has">;
  revoke(
    targets: readonly {
      readonly $case: "session";
      readonly value: { readonly id: string; readonly owner: string };
    }[],
    ttlS: number,
  ): Promise<void>;
}
