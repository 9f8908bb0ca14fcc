import type { KeysServiceService } from "#proto/waybill/keys/v1/keys.ts";
import type { Handlers } from "#shared/contract/handlers.ts";

const unused = async (): Promise<never> => {
  throw new Error("not implemented in this test");
};

/** Handlers of the key service that a test of something else has no use for. */
export const REST_OF_KEYS: Pick<
  Handlers<typeof KeysServiceService>,
  | "renewLease"
  | "releaseLease"
  | "rotateRing"
  | "revoke"
  | "readRevocations"
  | "watchRevocations"
  | "listAuditEvents"
> = {
  renewLease: unused,
  releaseLease: unused,
  rotateRing: unused,
  revoke: unused,
  readRevocations: unused,
  watchRevocations: () => {
    throw new Error("not implemented in this test");
  },
  listAuditEvents: unused,
};
