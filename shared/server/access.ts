import { Access, Step } from "../../proto/gen/waybill/options/v1/options.ts";
import type { MethodContract } from "../contract/contract.ts";
import type { Caller } from "../contract/handlers.ts";
import { Errors } from "../errors.ts";
import type { Call, Handler } from "./call.ts";

/** Finds out which service calls. Rejects with StatusError CREDENTIAL_INVALID. */
export type Authenticate = (authorization: string | undefined, method: string) => Promise<Caller>;

/** Finds out who calls by an access token; undefined: the call brings none. */
export interface Authentication {
  /** Whether it can check what the method's contract demands of a proof. */
  canCheck(method: MethodContract): boolean;
  caller(call: Call, method: MethodContract): Promise<Caller | undefined>;
}

/** How a server gets to know its callers. What is not there lets nobody in. */
export interface Authentications {
  /** For methods with ACCESS_SERVICE. */
  readonly services: Authenticate | undefined;
  /** For methods with ACCESS_AUTHENTICATED, and for owners of sessions. */
  readonly tokens: Authentication | undefined;
}

/**
 * Lets a call through as its contract says. A method that declares nothing is refused, and so is one
 * whose callers the server has no way to know.
 */
export function access(
  method: MethodContract,
  next: Handler,
  { services, tokens }: Authentications,
): Handler {
  if (tokens?.canCheck(method) === false) {
    throw new Error(`${method.path} has proofs for a single use: nothing here remembers them`);
  }
  switch (method.access) {
    case Access.ACCESS_PUBLIC:
      // Who owns a session must be known, if he says who he is; elsewhere it makes no difference.
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
        if (caller === undefined) throw Errors.CREDENTIAL_INVALID({ cause: "there is none" });
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
