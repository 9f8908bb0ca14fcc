import { status } from "@grpc/grpc-js";
import { vocabulary } from "waybill";

export const IdentityErrors = vocabulary("identity.waybill", {
  NOT_FOUND: [status.NOT_FOUND, "The resource does not exist."],
  ALREADY_EXISTS: [status.ALREADY_EXISTS, "The resource already exists. Choose another name."],
  ETAG_MISMATCH: [
    status.ABORTED,
    "The resource has changed since this etag was read. Read it again and retry the change.",
  ],
  FIELD_NOT_CHANGEABLE: [
    status.INVALID_ARGUMENT,
    "The update mask names a field that can't be changed.",
  ],
  SECRET_WRONG: [status.UNAUTHENTICATED, "The secret is wrong."],
  TOO_MANY_ATTEMPTS: [status.RESOURCE_EXHAUSTED, "Too many attempts. Wait and retry."],
  TOKEN_UNAVAILABLE: [
    status.UNAVAILABLE,
    "The change is committed. Its revocations are not yet acknowledged; they will be delivered. Retry to wait for them.",
  ],
  NOT_A_USER: [status.PERMISSION_DENIED, "The caller is not a user."],
});
