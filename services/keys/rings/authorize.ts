import type { JWK } from "jose";
import { type Context, Errors } from "waybill";
import type { Credentials } from "waybill/auth";

/**
 * Checks that the calling service serves an audience, so that it gets the rings of its own audiences only.
 *
 * @returns the calling service
 * @throws StatusError ACCESS_DENIED
 */
export async function authorize(
  context: Context,
  audience: string,
  credentials: Credentials,
): Promise<string> {
  const { service } = context.caller;
  const peer = service === undefined ? undefined : await credentials.peer(service);
  if (service === undefined || !peer?.audiences.includes(audience)) {
    throw Errors.ACCESS_DENIED({
      metadata: { method: context.method, audience },
    });
  }
  return service;
}

/** Returns the one-time key of the caller's assertion. @throws StatusError CREDENTIAL_INVALID */
export function oneTimeKeyOf(context: Context): JWK {
  const { oneTimeKey } = context.caller;
  if (oneTimeKey === undefined) throw Errors.CREDENTIAL_INVALID({ cause: "no cnf.jwk" });
  return oneTimeKey as JWK;
}
