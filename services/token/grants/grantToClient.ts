import type { Context } from "waybill";
import type { TokenResponse, Wanted } from "#proto/waybill/token/v1/token.ts";
import type { Confirmation } from "#shared/auth/tokens/claims.ts";
import type { Client } from "../clients/clients.ts";
import { TokenErrors } from "../errors.ts";
import type { TokenDependencies } from "../index.ts";
import { toText } from "../tokens/binding.ts";
import { checkBinding } from "../tokens/issuing.ts";
import { narrow } from "./wanted.ts";

/** An authenticated client. */
export interface Proven {
  readonly client: Client;
  /** Expiry of the proof, in seconds since the Unix epoch. The new token expires no later. */
  readonly until?: number;
  /** Key that the call must prove, because the proof is bound to it. */
  readonly boundTo?: Confirmation | undefined;
  readonly details?: Record<string, string>;
}

/**
 * Issues an access token to an authenticated client for itself.
 *
 * @param action action of the audit event
 * @throws StatusError UNAUTHORIZED_CLIENT, INVALID_SCOPE, TOO_MANY_GRANTS, BINDING_REQUIRED, INVALID_GRANT
 */
export async function grantToClient(
  { grantLimit, binding, issuing, audit }: TokenDependencies,
  context: Context,
  action: string,
  wanted: Wanted | undefined,
  proven: Proven,
): Promise<TokenResponse> {
  const { client, until, boundTo, details } = proven;
  if (client.isPublic) throw TokenErrors.UNAUTHORIZED_CLIENT();
  const reach = narrow(wanted, client);
  await grantLimit.count(client.name);
  const confirmation = await binding.of(context);
  checkBinding(client, confirmation, { confirmation: boundTo });
  // The key is the only proof of the client: without this check, a stolen token would be enough.
  if (boundTo !== undefined && toText(boundTo) !== toText(confirmation)) {
    throw TokenErrors.INVALID_GRANT({ cause: "bound to another key" });
  }
  const { name, epoch } = client;
  const response = issuing.issue({
    subject: name,
    client: name,
    epoch,
    ...reach,
    confirmation,
    mayAct: wanted?.mayAct || undefined,
    ...(until !== undefined && { until }),
  });
  await audit.write({
    action,
    actor: name,
    client: name,
    target: name,
    address: context.origin.address,
    details: { scopes: reach.scopes.join(" "), ...details },
  });
  return response;
}
