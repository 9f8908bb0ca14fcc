import { Cursors } from "waybill";
import type { TokenAuthentication } from "waybill/auth";
import { createClient } from "waybill/client";
import type { Pool } from "waybill/postgres";
import { IdentityServiceService } from "#proto/waybill/identity/v1/identity.ts";
import { TokenServiceService } from "#proto/waybill/token/v1/token.ts";
import { loadWrapping } from "#shared/auth/credentials/wrapping.ts";
import { MAX_SKEW_S } from "#shared/auth/tokens/accessTokens.ts";
import { every, untilDone } from "#shared/runtime/periodic.ts";
import { AuditLog } from "../auditLog/auditLog.ts";
import type { TokenConfig } from "../replica/config/config.ts";
import type { ReplicaDependencies } from "../replica/replicaDependencies.ts";
import { Clients } from "./clients/clients.ts";
import { ExternalIssuers } from "./clients/externalIssuers.ts";
import { GrantLimit } from "./grants/grantLimit.ts";
import { tokenHandlers } from "./index.ts";
import { Families } from "./signIns/families.ts";
import { SigningKeys } from "./signingKeys/signingKeys.ts";
import { Spending } from "./spending.ts";
import { deleteExpired } from "./sql/deleteExpired.ts";
import { Binding } from "./tokens/binding.ts";
import { Issuing } from "./tokens/issuing.ts";

const DAY_S = 24 * 60 * 60;
/** A sign-in ends after 30 days, or after 14 days without use. */
const FAMILY_IDLE_S = 14 * DAY_S;
const FAMILY_ABSOLUTE_S = 30 * DAY_S;
const ROTATE_S = 30 * DAY_S;
const RELOAD_MS = 10_000;
const MAINTAIN_MS = 60 * 60_000;
const DELIVER_MS = 2000;
const SWEEP_MS = 10 * 60_000;

export function startToken(replica: ReplicaDependencies, config: TokenConfig): void {
  const { feed, log, credentials, authentication } = replica;
  if (authentication === undefined) throw new Error("the role token needs access tokens");
  const db = replica.database("token", config.database);
  const audit = new AuditLog(db, "token");
  const keys = signingKeys(replica, config, db, audit);
  const lives = {
    idleS: FAMILY_IDLE_S,
    absoluteS: FAMILY_ABSOLUTE_S,
    descendantS: replica.longestSessionS,
  };
  const families = new Families(db, audit, feed, lives, log);
  repeat(replica, "delivery of the outbox", DELIVER_MS, () => families.deliverLeftOvers());
  repeat(replica, "deletion of expired rows", SWEEP_MS, () => deleteExpired(db));
  const { issuer, accessTokenLifeS } = replica.config;
  const assertions = replica.assertions("token");
  const identity = identityClient(replica, config);
  const { revocations } = feed;
  const spending = spendingOf(authentication, db);
  replica.server.add(
    TokenServiceService,
    tokenHandlers({
      db,
      issuer,
      audit,
      keys,
      feed,
      authentication,
      identity,
      assertions,
      families,
      tokens: authentication.tokens,
      cursors: new Cursors("token", replica.ringOf("token")),
      clients: new Clients({ issuer, credentials, identity, assertions, revocations, spending }),
      issuers: new ExternalIssuers({ issuer, identity, assertions }),
      grantLimit: new GrantLimit(db, config.grantsPerMinute),
      binding: new Binding(authentication, spending),
      issuing: new Issuing(issuer, keys, accessTokenLifeS),
    }),
  );
}

function signingKeys(
  replica: ReplicaDependencies,
  config: TokenConfig,
  db: Pool,
  audit: AuditLog,
): SigningKeys {
  const { signingAlgorithm: algorithm, keyPublishS: publishS } = config;
  const schedule = {
    algorithm,
    publishS,
    rotateS: ROTATE_S,
    accessKeepS: replica.config.accessTokenLifeS + 2 * MAX_SKEW_S + publishS,
    refreshKeepS: FAMILY_ABSOLUTE_S + DAY_S,
  };
  const keys = new SigningKeys(db, loadWrapping(config.keyEncryptionKeyFile), schedule, audit);
  repeat(replica, "reload of the signing keys", RELOAD_MS, () => keys.reload());
  repeat(replica, "maintenance of the signing keys", MAINTAIN_MS, () => keys.maintain());
  const starting = new AbortController();
  replica.releasers.push("the first signing keys", () => starting.abort());
  const what = "maintenance of the signing keys of token";
  replica.awaits(untilDone(what, () => keys.maintain(), replica.log, starting.signal));
  return keys;
}

/** Makes the server spend ids of single-use tokens in this role's database. */
function spendingOf(authentication: TokenAuthentication, db: Pool): Spending {
  const spending = new Spending(db);
  authentication.spendBy((id, lifeS) => spending.once(id, lifeS));
  return spending;
}

function identityClient(
  { address, releasers, clientOptions }: ReplicaDependencies,
  config: TokenConfig,
) {
  const target = config.identityAddress ?? address;
  const identity = createClient(IdentityServiceService, target, clientOptions());
  releasers.push("token's client of identity", () => identity.close());
  return identity;
}

function repeat(
  { releasers, log }: ReplicaDependencies,
  what: string,
  intervalMs: number,
  work: () => Promise<unknown>,
): void {
  releasers.push(what, every(`${what} of token`, intervalMs, work, log));
}
