import { createHash, timingSafeEqual } from "node:crypto";
import { jwtVerify } from "jose";
import { StatusError } from "waybill";
import type { Assertions, Credentials, Revocations } from "waybill/auth";
import type { ServiceClient } from "waybill/client";
import {
  Exchange,
  type FindClientResponse,
  IdentityServiceService,
} from "#proto/waybill/identity/v1/identity.ts";
import type { ClientAuthentication } from "#proto/waybill/token/v1/token.ts";
import { MAX_SKEW_S } from "#shared/auth/tokens/accessTokens.ts";
import { readHeader } from "#shared/auth/tokens/header.ts";
import {
  importKeys,
  SIGNING_ALGORITHMS,
  type VerificationKey,
} from "#shared/auth/tokens/verificationKeys.ts";
import { TokenErrors } from "../errors.ts";
import { Memo } from "../memo.ts";
import type { Spending } from "../spending.ts";
import { askIdentity } from "./askIdentity.ts";

/** An authenticated client. */
export interface Client {
  /** `serviceAccounts/{id}`, or `services/{name}` for the services of this system. */
  readonly name: string;
  readonly epoch: number;
  readonly scopes: readonly string[];
  readonly audiences: readonly string[];
  /** Audiences that the service serves. Empty for service accounts. */
  readonly serves: readonly string[];
  readonly isPublic: boolean;
  readonly exchange: Exchange;
  readonly requireBinding: boolean;
}

interface KnownClient extends Client {
  readonly secretDigest: Buffer;
  readonly keys: ReadonlyMap<string, VerificationKey>;
}

/** JWT types of assertions. An assertion of one type is refused where the other is expected. */
export type AssertionType = "client-authentication+jwt" | "jwt-bearer+jwt";

/** How long an account is cached. A new epoch on the feed drops it at once. */
const CACHED_MS = 10_000;
/** Longest life of an assertion, in seconds. */
const MAX_ASSERTION_S = 300;
const NO_DIGEST = Buffer.alloc(32);

export interface ClientsOptions {
  issuer: string;
  credentials: Credentials;
  identity: Pick<ServiceClient<typeof IdentityServiceService>, "findClient">;
  assertions: Assertions;
  revocations: Revocations;
  spending: Spending;
  now?: () => number;
}

/** Authenticates clients. */
export class Clients {
  readonly #options: ClientsOptions;
  readonly #known: Memo<KnownClient | undefined>;

  constructor(options: ClientsOptions) {
    this.#options = options;
    const { revocations } = options;
    this.#known = new Memo(
      (name) => this.#load(name),
      CACHED_MS,
      (client) =>
        client === undefined || !revocations.has({ subject: client.name, epoch: client.epoch }),
    );
  }

  /**
   * Authenticates a client by its secret or an assertion (RFC 7523). Every failure gives the same error.
   *
   * @throws StatusError INVALID_CLIENT
   */
  async authenticate(given: ClientAuthentication | undefined): Promise<Client> {
    const client = await this.identify(given);
    if (client === undefined || client.isPublic) {
      throw TokenErrors.INVALID_CLIENT({ cause: "no proof, or a public client" });
    }
    return client;
  }

  /**
   * Identifies the client of a call that a user makes. A public client needs no proof.
   *
   * @returns undefined when the call names no client
   *
   * @throws StatusError INVALID_CLIENT
   */
  async identify(given: ClientAuthentication | undefined): Promise<Client | undefined> {
    if (given === undefined || (given.client === "" && given.proof === undefined)) return undefined;
    const { proof } = given;
    if (proof?.$case === "assertion") {
      const client = await this.assertedBy(proof.value, "client-authentication+jwt");
      if (given.client === "" || given.client === client.name) return client;
      throw TokenErrors.INVALID_CLIENT({ cause: "the assertion belongs to another client" });
    }
    const client = await this.#known.get(given.client);
    if (proof === undefined) {
      if (client?.isPublic) return client;
      throw TokenErrors.INVALID_CLIENT({ cause: "no proof, and the client is not public" });
    }
    const digest = createHash("sha256").update(proof.value).digest();
    const expected = client?.secretDigest.length === 32 ? client.secretDigest : NO_DIGEST;
    if (timingSafeEqual(digest, expected) && client !== undefined) return client;
    throw TokenErrors.INVALID_CLIENT({ cause: "wrong secret or unknown client" });
  }

  /**
   * Verifies an assertion and returns the client that signed it. Each assertion is accepted once.
   *
   * @throws StatusError INVALID_CLIENT
   */
  async assertedBy(assertion: string, type: AssertionType): Promise<Client> {
    try {
      const { kid } = readHeader(assertion, [type]);
      const name = unverifiedIssuer(assertion);
      const client = await this.#known.get(name);
      const key = client?.keys.get(kid);
      if (client === undefined || key === undefined) throw new Error("the client has no such key");
      const now = this.#options.now?.() ?? Date.now();
      const { payload } = await jwtVerify(assertion, key.key, {
        algorithms: [key.algorithm],
        typ: type,
        issuer: name,
        subject: name,
        clockTolerance: MAX_SKEW_S,
        currentDate: new Date(now),
        requiredClaims: ["exp", "iat", "jti"],
      });
      const { aud, exp = 0, jti } = payload;
      // A second audience could replay the assertion here.
      if (aud !== this.#options.issuer) throw new Error("audience is not exactly this issuer");
      if (exp - now / 1000 > MAX_ASSERTION_S + MAX_SKEW_S) throw new Error("expires too late");
      const id = JSON.stringify(["assertion", name, jti]);
      const lifeS = MAX_ASSERTION_S + 2 * MAX_SKEW_S;
      if (!(await this.#options.spending.once(id, lifeS))) throw new Error("replayed assertion");
      return client;
    } catch (cause) {
      // Postgres or identity failed: the assertion may be valid.
      if (cause instanceof StatusError) throw cause;
      throw TokenErrors.INVALID_CLIENT({ cause });
    }
  }

  /** Returns a client that a trusted issuer has authenticated. */
  async find(name: string): Promise<Client | undefined> {
    return this.#known.get(name);
  }

  async #load(name: string): Promise<KnownClient | undefined> {
    if (name.startsWith("services/")) return this.#findService(name);
    const { identity, assertions } = this.#options;
    const metadata = await assertions.to(IdentityServiceService.findClient);
    const { client } = await askIdentity(identity.findClient({ name }, { metadata }));
    return client && toClient(client);
  }

  async #findService(name: string): Promise<KnownClient | undefined> {
    const service = name.slice("services/".length);
    const peer = await this.#options.credentials.peer(service);
    if (peer === undefined) return undefined;
    const key = { id: service, algorithm: "EdDSA", key: peer.key };
    return {
      name,
      epoch: 0,
      scopes: peer.scopes,
      audiences: peer.calls,
      serves: peer.audiences,
      isPublic: false,
      exchange: Exchange.EXCHANGE_DELEGATION,
      requireBinding: false,
      secretDigest: Buffer.alloc(0),
      keys: new Map([[service, key]]),
    };
  }
}

async function toClient({
  subject,
  secretDigest,
  jwks,
  public: isPublic,
  exchange,
  requireBinding,
}: NonNullable<FindClientResponse["client"]>): Promise<KnownClient> {
  const { name, epoch, scopes, audiences } = subject!;
  const keys = jwks === "" ? new Map() : await importKeys(JSON.parse(jwks), SIGNING_ALGORITHMS);
  return {
    name,
    epoch,
    scopes,
    audiences,
    serves: [],
    isPublic,
    exchange,
    requireBinding,
    secretDigest,
    keys,
  };
}

/** Reads the issuer that a JWT claims, to choose the key that verifies it. */
function unverifiedIssuer(jwt: string): string {
  const payload = Buffer.from(jwt.split(".")[1] ?? "", "base64url").toString("utf8");
  const { iss } = JSON.parse(payload) as { iss?: unknown };
  if (typeof iss !== "string" || iss.length > 512) throw new Error("no issuer");
  return iss;
}
