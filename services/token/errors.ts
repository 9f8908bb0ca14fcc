import { status } from "@grpc/grpc-js";
import { vocabulary } from "#shared/errors.ts";

/** The reasons are those of RFC 6749 section 5.2, in this project's spelling. */
export const TokenErrors = vocabulary("token.waybill", {
  INVALID_CLIENT: [status.UNAUTHENTICATED, "The client has not proven to be one."],
  INVALID_GRANT: [status.UNAUTHENTICATED, "What was presented is of no use for a token."],
  INVALID_SCOPE: [
    status.PERMISSION_DENIED,
    "More scopes or audiences were asked for than may be had.",
  ],
  UNAUTHORIZED_CLIENT: [status.PERMISSION_DENIED, "The client may not use this grant."],
  INVALID_DPOP_PROOF: [status.UNAUTHENTICATED, "The proof in the metadata `dpop` does not hold."],
  BINDING_REQUIRED: [
    status.FAILED_PRECONDITION,
    "The token must be bound to a key: send a DPoP proof, or show a client certificate.",
  ],
  TOO_MANY_GRANTS: [status.RESOURCE_EXHAUSTED, "The client was given too many tokens. Wait."],
  TOO_MANY_ATTEMPTS: [status.RESOURCE_EXHAUSTED, "There were too many attempts to sign in. Wait."],
  IDENTITY_UNAVAILABLE: [
    status.UNAVAILABLE,
    "Accounts can't be looked up at the moment. Try again.",
  ],
  ISSUER_UNAVAILABLE: [status.UNAVAILABLE, "The issuer's keys can't be read. Try again."],
  SIGN_IN_NOT_FOUND: [status.NOT_FOUND, "The caller has no such sign-in."],
});
