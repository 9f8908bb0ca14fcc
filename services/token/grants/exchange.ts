import { type Context, StatusError } from "waybill";
import type { AccessToken } from "waybill/auth";
import { Exchange } from "#proto/waybill/identity/v1/identity.ts";
import {
  type ExchangeRequest,
  TokenKind,
  type TokenResponse,
} from "#proto/waybill/token/v1/token.ts";
import type { Client } from "../clients/clients.ts";
import { TokenErrors } from "../errors.ts";
import type { TokenDependencies } from "../index.ts";
import { checkBinding } from "../tokens/issuing.ts";
import { externalClient } from "./grantJwtBearer.ts";
import { grantToClient } from "./grantToClient.ts";
import { narrow } from "./wanted.ts";

const MAX_ACTORS = 8;

/** Exchanges a token for a narrower one of another client (RFC 8693). */
export const exchange =
  (dependencies: TokenDependencies) =>
  async (request: ExchangeRequest, context: Context): Promise<TokenResponse> => {
    const { subjectToken, wanted } = request;
    if (request.subjectTokenType === TokenKind.TOKEN_KIND_JWT) {
      const proven = await externalClient(dependencies, subjectToken);
      return grantToClient(dependencies, context, "token.exchange", wanted, proven);
    }
    const { clients, grantLimit, binding, issuing, audit } = dependencies;
    const client = await clients.authenticate(request.client);
    const subject = await verified(dependencies, subjectToken);
    const actorToken = await actorTokenOf(dependencies, request, client);
    const actor = actorToken?.subject ?? client.name;
    const impersonates = request.impersonate;
    assertAllowed(client, subject, actor, impersonates);
    // A new token must not allow more than its subject token (RFC 8693 section 2.2.1).
    const reach = narrow(wanted, subject);
    await grantLimit.count(client.name);
    // The client uses the new token, so it is bound to the client's key: the client cannot prove the
    // subject's. Without a binding, an exchange would turn a stolen bound token into a bearer token.
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

/** Verifies an access token. @throws StatusError INVALID_GRANT, REVOCATIONS_STALE */
async function verified(
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

/** Verifies the actor's access token. @returns undefined when the client itself is the actor */
async function actorTokenOf(
  dependencies: TokenDependencies,
  { actorToken }: ExchangeRequest,
  client: Client,
): Promise<AccessToken | undefined> {
  if (actorToken === "") return undefined;
  const actor = await verified(dependencies, actorToken);
  if (actor.client === client.name) return actor;
  throw TokenErrors.INVALID_GRANT({ cause: "the actor's token was issued to another client" });
}

/**
 * Checks that a client may exchange a token. A service may exchange the tokens of its callers. Another
 * client may exchange a token that was issued to it or names the actor in `may_act`; a client that may
 * impersonate may exchange any token.
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
  if (impersonates && !mayImpersonate) throw refused("the client may not impersonate");
  if (subject.mayAct !== undefined && subject.mayAct !== actor) {
    throw refused("may_act names another actor");
  }
  if (client.exchange === Exchange.EXCHANGE_UNSPECIFIED)
    throw refused("the client may not exchange");
  const isCalled = client.serves.some((audience) => subject.audiences.includes(audience));
  const isAllowed = subject.mayAct === actor || subject.client === client.name;
  if (!isCalled && !isAllowed && !mayImpersonate) throw refused("the token is not for the client");
}
