import { status } from "@grpc/grpc-js";
import { vocabulary } from "#shared/errors.ts";

export const IdentityErrors = vocabulary("identity.waybill", {
  NOT_FOUND: [status.NOT_FOUND, "There is no such resource."],
  ALREADY_EXISTS: [status.ALREADY_EXISTS, "There is such a resource already. Choose another name."],
  ETAG_MISMATCH: [
    status.ABORTED,
    "The resource has changed since it had this etag. Read it again, and repeat the change.",
  ],
  FIELD_NOT_CHANGEABLE: [
    status.INVALID_ARGUMENT,
    "The update mask names a field that can't be changed.",
  ],
  SECRET_WRONG: [status.UNAUTHENTICATED, "The secret is not the caller's."],
  TOO_MANY_ATTEMPTS: [status.RESOURCE_EXHAUSTED, "There were too many attempts. Wait."],
  TOKEN_UNAVAILABLE: [
    status.UNAVAILABLE,
    "The change is made; that it ends what was issued before is on its way. Try again to wait for it.",
  ],
  NOT_A_USER: [status.PERMISSION_DENIED, "The caller is no user."],
});
