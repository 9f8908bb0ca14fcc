import type { TokenResponse, Wanted } from "#proto/waybill/token/v1/token.ts";
import type { Confirmation } from "#shared/auth/tokens/claims.ts";
import type { Context } from "#shared/contract/handlers.ts";
import type { Client } from "../clients/clients.ts";
import { TokenErrors } from "../errors.ts";
import type { TokenDependencies } from "../index.ts";
import { toText } from "../tokens/binding.ts";
import { checkBinding } from "../tokens/issuing.ts";
import { narrow } from "./wanted.ts";

/** The form of client authentication that a call used. */
export interface Proven {
  readonly client: Client;
  readonly until?: number;
  readonly boundTo?: Confirmation | undefined;
  readonly details?: Record<string, string>;
}

/**
 * A token for a client itself, however it has proven to be it.
 *
 * @param action what audit events call the grant
 * @param proven `until`: what it was proven with ends then, in seconds since the Unix epoch;
 *   `boundTo`: the key that whoever presents it must prove
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
  // No other proof names the client: with another key than this one, a stolen token would do.
  if (boundTo !== undefined && toText(boundTo) !== toText(confirmation)) {
    throw TokenErrors.INVALID_GRANT({ cause: "it is bound to another key" });
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
