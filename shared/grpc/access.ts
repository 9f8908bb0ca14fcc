import { Access } from "../../proto/gen/waybill/options/v1/options.ts";
import { Errors } from "../errors/errors.ts";
import type { Handler } from "./call.ts";
import type { MethodContract } from "./contract.ts";
import type { Caller } from "./handlers.ts";

/** Finds out which service calls. Rejects with StatusError CREDENTIAL_INVALID. */
export type Authenticate = (authorization: string | undefined, method: string) => Promise<Caller>;

/**
 * Lets a call through as its contract says. A method that declares nothing is refused, and so is a
 * service-only method where the server has no way to authenticate services.
 */
export function access(
  method: MethodContract,
  next: Handler,
  authenticate: Authenticate | undefined,
): Handler {
  if (method.access === Access.ACCESS_PUBLIC) return next;
  if (method.access !== Access.ACCESS_SERVICE || authenticate === undefined) {
    return async () => {
      throw Errors.ACCESS_DENIED({ metadata: { method: method.path } });
    };
  }
  return async (request, call) => {
    const [authorization] = call.metadata.get("authorization");
    call.caller = await authenticate(authorization?.toString(), method.path);
    return next(request, call);
  };
}
