import { Cursors } from "waybill";
import { createClient } from "waybill/client";
import { IdentityServiceService } from "#proto/waybill/identity/v1/identity.ts";
import { TokenServiceService } from "#proto/waybill/token/v1/token.ts";
import { loadWrapping } from "#shared/auth/credentials/wrapping.ts";
import { MAX_SKEW_S } from "#shared/auth/tokens/accessTokens.ts";
import { every, untilDone } from "#shared/runtime/periodic.ts";
import { AuditLog } from "../auditLog/auditLog.ts";
import { longestSessionS } from "../replica/longestSession.ts";
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
/** A sign-in lives for a month, and half of that without being used. */
const FAMILY_IDLE_S = 14 * DAY_S;
const FAMILY_ABSOLUTE_S = 30 * DAY_S;
const ROTATE_S = 30 * DAY_S;
const RELOAD_MS = 10_000;
const MAINTAIN_MS = 60 * 60_000;
const DELIVER_MS = 2000;
const SWEEP_MS = 10 * 60_000;

export function startToken(replica: ReplicaDependencies): void {
  const { config, address, releasers, server, feed, log, credentials, authentication } = replica;
  if (authentication === undefined) throw new Error("the role token takes access tokens");
  const db = replica.database("token");
  const assertions = replica.assertions("token");
  const target = config.identityAddress ?? address;
  const identity = createClient(IdentityServiceService, target, replica.clientOptions());
  releasers.push("the client of identity", () => identity.close());
  const { issuer, accessTokenLifeS, signingAlgorithm: algorithm, keyPublishS: publishS } = config;
  const schedule = {
    algorithm,
    publishS,
    rotateS: ROTATE_S,
    accessKeepS: accessTokenLifeS + 2 * MAX_SKEW_S + publishS,
    refreshKeepS: FAMILY_ABSOLUTE_S + DAY_S,
  };
  const audit = new AuditLog(db, "token");
  const wrapping = loadWrapping(config.keyEncryptionKeyFile!);
  const keys = new SigningKeys(db, wrapping, schedule, audit);
  const { revocations } = feed;
  const spending = new Spending(db);
  authentication.spendBy((id, lifeS) => spending.once(id, lifeS));
  const lives = {
    idleS: FAMILY_IDLE_S,
    absoluteS: FAMILY_ABSOLUTE_S,
    descendantS: longestSessionS(replica),
  };
  const families = new Families(db, audit, feed, lives, log);
  const repeat = (what: string, intervalMs: number, work: () => Promise<unknown>) =>
    releasers.push(what, every(`${what} of token`, intervalMs, work, log));
  repeat("reload of keys", RELOAD_MS, () => keys.reload());
  repeat("maintenance of keys", MAINTAIN_MS, () => keys.maintain());
  repeat("delivery of the outbox", DELIVER_MS, () => families.deliverLeftOvers());
  repeat("sweep", SWEEP_MS, () => deleteExpired(db));
  const starting = new AbortController();
  releasers.push("the first keys", () => starting.abort());
  replica.awaits(untilDone("read the keys", () => keys.maintain(), log, starting.signal));
  server.add(
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
