import { Exchange } from "#proto/waybill/identity/v1/identity.ts";
import {
  type ExchangeRequest,
  TokenKind,
  type TokenResponse,
} from "#proto/waybill/token/v1/token.ts";
import type { AccessToken } from "#shared/auth/tokens/claims.ts";
import type { Context } from "#shared/contract/handlers.ts";
import { StatusError } from "#shared/errors.ts";
import type { Client } from "../clients/clients.ts";
import { TokenErrors } from "../errors.ts";
import type { TokenDependencies } from "../index.ts";
import { checkBinding } from "../tokens/issuing.ts";
import { vouchedFor } from "./grantJwtBearer.ts";
import { grantToClient } from "./grantToClient.ts";
import { narrow } from "./wanted.ts";

const MAX_ACTORS = 8;

export const exchange =
  (dependencies: TokenDependencies) =>
  async (request: ExchangeRequest, context: Context): Promise<TokenResponse> => {
    const { subjectToken, wanted } = request;
    if (request.subjectTokenType === TokenKind.TOKEN_KIND_JWT) {
      const proven = await vouchedFor(dependencies, subjectToken);
      return grantToClient(dependencies, context, "token.exchange", wanted, proven);
    }
    const { clients, grantLimit, binding, issuing, audit } = dependencies;
    const client = await clients.authenticate(request.client);
    const subject = await inForce(dependencies, subjectToken);
    const actorToken = await actorTokenOf(dependencies, request, client);
    const actor = actorToken?.subject ?? client.name;
    const impersonates = request.impersonate;
    assertAllowed(client, subject, actor, impersonates);
    // Never wider than what it is made from (RFC 8693 section 2.2.1).
    const reach = narrow(wanted, subject);
    await grantLimit.count(client.name);
    // The client holds the new token, so it is bound to a key of the client's: it could not prove the
    // subject's own. RFC 8693 leaves the binding open; without one, bound tokens would come unbound here.
    const confirmation = await binding.of(context);
    checkBinding(client, confirmation, subject, actorToken);
    const { family, epoch, expiresAt: until } = subject;
    const actors = impersonates ? subject.actors : [actor, ...subject.actors];
    if (actors.length > MAX_ACTORS) throw TokenErrors.INVALID_GRANT({ cause: "too many actors" });
    const response = issuing.issue({
      subject: subject.subject,
      client: client.name,
      ...reach,
      epoch,
      family,
      actors,
      confirmation,
      mayAct: subject.mayAct ?? (wanted?.mayAct || undefined),
      until,
    });
    await audit.write({
      action: "token.exchange",
      actor,
      client: client.name,
      target: subject.subject,
      address: context.origin.address,
      details: { scopes: reach.scopes.join(" "), impersonates: `${impersonates}` },
    });
    return response;
  };

/** An access token of ours that is good now. @throws StatusError INVALID_GRANT, REVOCATIONS_STALE */
async function inForce(
  { tokens, authentication }: TokenDependencies,
  jwt: string,
): Promise<AccessToken> {
  try {
    const token = await tokens.verify(jwt);
    authentication.assertNotRevoked(token);
    return token;
  } catch (cause) {
    if (cause instanceof StatusError && cause.reason !== "CREDENTIAL_INVALID") throw cause;
    throw TokenErrors.INVALID_GRANT({ cause });
  }
}

/** The access token of who will act, which was given to the client; undefined: the client itself acts. */
async function actorTokenOf(
  dependencies: TokenDependencies,
  { actorToken }: ExchangeRequest,
  client: Client,
): Promise<AccessToken | undefined> {
  if (actorToken === "") return undefined;
  const actor = await inForce(dependencies, actorToken);
  if (actor.client === client.name) return actor;
  throw TokenErrors.INVALID_GRANT({ cause: "the actor's token was not given to this client" });
}

/**
 * A service of this system may act for those who call it. Another client may act where the token
 * says so (`may_act`), or as the one that it was given to; and, where it may impersonate, for all.
 *
 * @throws StatusError UNAUTHORIZED_CLIENT
 */
function assertAllowed(
  client: Client,
  subject: AccessToken,
  actor: string,
  impersonates: boolean,
): void {
  const mayImpersonate = client.exchange === Exchange.EXCHANGE_IMPERSONATION;
  const refused = (cause: string) => TokenErrors.UNAUTHORIZED_CLIENT({ cause });
  if (impersonates && !mayImpersonate) throw refused("it may not impersonate");
  if (subject.mayAct !== undefined && subject.mayAct !== actor) {
    throw refused("the token names another one who may act");
  }
  if (client.exchange === Exchange.EXCHANGE_UNSPECIFIED) throw refused("it may not exchange");
  const isCalled = client.serves.some((audience) => subject.audiences.includes(audience));
  const isNamed = subject.mayAct === actor || subject.client === client.name;
  if (!isCalled && !isNamed && !mayImpersonate) throw refused("the token is not for it");
}
