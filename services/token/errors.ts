import { status } from "@grpc/grpc-js";
import { vocabulary } from "waybill";

/** Reasons of refusals; those of RFC 6749 section 5.2 are in upper case. */
export const TokenErrors = vocabulary("token.waybill", {
  INVALID_CLIENT: [status.UNAUTHENTICATED, "The client authentication failed."],
  INVALID_GRANT: [status.UNAUTHENTICATED, "The grant is invalid, expired or revoked."],
  INVALID_SCOPE: [status.PERMISSION_DENIED, "A requested scope or audience is not allowed."],
  UNAUTHORIZED_CLIENT: [status.PERMISSION_DENIED, "The client may not use this grant."],
  INVALID_DPOP_PROOF: [status.UNAUTHENTICATED, "The DPoP proof in the metadata `dpop` is invalid."],
  BINDING_REQUIRED: [
    status.FAILED_PRECONDITION,
    "The token must be bound to a key. Send a DPoP proof, or use a client certificate.",
  ],
  TOO_MANY_GRANTS: [
    status.RESOURCE_EXHAUSTED,
    "Too many tokens were issued to the client. Wait and retry.",
  ],
  TOO_MANY_ATTEMPTS: [status.RESOURCE_EXHAUSTED, "Too many attempts to sign in. Wait and retry."],
  IDENTITY_UNAVAILABLE: [status.UNAVAILABLE, "The identity service is unavailable. Retry."],
  ISSUER_UNAVAILABLE: [status.UNAVAILABLE, "The issuer's keys are unavailable. Retry."],
  SIGN_IN_NOT_FOUND: [status.NOT_FOUND, "The caller has no such sign-in."],
});
