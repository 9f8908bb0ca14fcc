import { Access, Step } from "../../proto/gen/waybill/options/v1/options.ts";
import type { MethodContract } from "../contract/contract.ts";
import type { Caller } from "../contract/handlers.ts";
import { Errors } from "../errors.ts";
import type { Call, Handler } from "./call.ts";

/** Authenticates the calling service. Rejects with StatusError CREDENTIAL_INVALID. */
export type Authenticate = (authorization: string | undefined, method: string) => Promise<Caller>;

/** Authenticates callers by their access tokens. */
export interface Authentication {
  /** Reports whether it can check the proofs that the method's contract requires. */
  canCheck(method: MethodContract): boolean;
  /** Returns undefined if the call has no token. */
  caller(call: Call, method: MethodContract): Promise<Caller | undefined>;
}

/** A server's ways to authenticate callers. An undefined one denies every call that requires it. */
export interface Authentications {
  /** For methods with ACCESS_SERVICE. */
  readonly services: Authenticate | undefined;
  /** For methods with ACCESS_AUTHENTICATED, and for the owners of sessions. */
  readonly tokens: Authentication | undefined;
}

/**
 * Authenticates and authorizes the callers of a method, as its contract declares. Denies every call of a
 * method without a declared access, or whose callers the server cannot authenticate.
 */
export function access(
  method: MethodContract,
  next: Handler,
  { services, tokens }: Authentications,
): Handler {
  if (tokens?.canCheck(method) === false) {
    throw new Error(
      `${method.path} needs single-use proofs, but the server has no store for used proofs`,
    );
  }
  switch (method.access) {
    case Access.ACCESS_PUBLIC:
      // A session's owner is verified if the call has a token. Other public methods need no caller.
      if (method.step === Step.STEP_UNSPECIFIED || tokens === undefined) return next;
      return async (request, call) => {
        const caller = await tokens.caller(call, method);
        if (caller !== undefined) call.caller = caller;
        return next(request, call);
      };
    case Access.ACCESS_AUTHENTICATED:
      if (tokens === undefined) break;
      return async (request, call) => {
        const caller = await tokens.caller(call, method);
        if (caller === undefined)
          throw Errors.CREDENTIAL_INVALID({ cause: "the call has no access token" });
        call.caller = caller;
        return next(request, call);
      };
    case Access.ACCESS_SERVICE:
      if (services === undefined) break;
      return async (request, call) => {
        const [authorization] = call.headers.get("authorization");
        call.caller = await services(authorization?.toString(), method.path);
        return next(request, call);
      };
  }
  return async () => {
    throw Errors.ACCESS_DENIED({ metadata: { method: method.path } });
  };
}
