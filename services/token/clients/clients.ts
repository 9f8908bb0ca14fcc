import { createHash, timingSafeEqual } from "node:crypto";
import { jwtVerify } from "jose";
import {
  Exchange,
  type FindClientResponse,
  IdentityServiceService,
} from "#proto/waybill/identity/v1/identity.ts";
import type { ClientAuthentication } from "#proto/waybill/token/v1/token.ts";
import type { Assertions } from "#shared/auth/assertions.ts";
import type { Credentials } from "#shared/auth/credentials/credentials.ts";
import { MAX_SKEW_S } from "#shared/auth/tokens/accessTokens.ts";
import { readHeader } from "#shared/auth/tokens/header.ts";
import type { Revocations } from "#shared/auth/tokens/revocations.ts";
import {
  importKeys,
  SIGNING_ALGORITHMS,
  type VerificationKey,
} from "#shared/auth/tokens/verificationKeys.ts";
import type { ServiceClient } from "#shared/client/client.ts";
import { StatusError } from "#shared/errors.ts";
import { TokenErrors } from "../errors.ts";
import { Memo } from "../memo.ts";
import type { Spending } from "../spending.ts";
import { askIdentity } from "./askIdentity.ts";

/** A client that is known. */
export interface Client {
  /** `serviceAccounts/{id}`, or `services/{name}` for the services of this system. */
  readonly name: string;
  readonly epoch: number;
  readonly scopes: readonly string[];
  readonly audiences: readonly string[];
  /** Of a service: whose calls it answers. */
  readonly serves: readonly string[];
  readonly isPublic: boolean;
  readonly exchange: Exchange;
  readonly requireBinding: boolean;
}

interface KnownClient extends Client {
  readonly secretDigest: Buffer;
  readonly keys: ReadonlyMap<string, VerificationKey>;
}

/** What assertions are for: one made for one purpose is of no use for the other. */
export type AssertionType = "client-authentication+jwt" | "jwt-bearer+jwt";

/** How long an account is taken for what it was; it is asked for anew at once when its epoch changes. */
const KEPT_MS = 10_000;
/** Longest life of an assertion that is taken, in seconds. */
const MAX_ASSERTION_S = 300;
const NO_DIGEST = Buffer.alloc(32);

/** What knowing clients takes. */
export interface ClientsOptions {
  issuer: string;
  credentials: Credentials;
  identity: Pick<ServiceClient<typeof IdentityServiceService>, "findClient">;
  assertions: Assertions;
  revocations: Revocations;
  spending: Spending;
  now?: () => number;
}

/** Finds out which client calls, and whether it is that. */
export class Clients {
  readonly #options: ClientsOptions;
  readonly #known: Memo<KnownClient | undefined>;

  constructor(options: ClientsOptions) {
    this.#options = options;
    const { revocations } = options;
    this.#known = new Memo(
      (name) => this.#find(name),
      KEPT_MS,
      (client) =>
        client === undefined || !revocations.has({ subject: client.name, epoch: client.epoch }),
    );
  }

  /**
   * The client, by its proof: a secret, or an assertion (RFC 7523). Whatever fails looks the same.
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
   * The same, for what users do: a public client proves nothing, and there need be none.
   *
   * @throws StatusError INVALID_CLIENT
   */
  async identify(given: ClientAuthentication | undefined): Promise<Client | undefined> {
    if (given === undefined || (given.client === "" && given.proof === undefined)) return undefined;
    const { proof } = given;
    if (proof?.$case === "assertion") {
      const client = await this.assertedBy(proof.value, "client-authentication+jwt");
      if (given.client === "" || given.client === client.name) return client;
      throw TokenErrors.INVALID_CLIENT({ cause: "the assertion is of another client" });
    }
    const client = await this.#known.get(given.client);
    if (proof === undefined) {
      if (client?.isPublic) return client;
      throw TokenErrors.INVALID_CLIENT({ cause: "no proof of a client that is not public" });
    }
    const digest = createHash("sha256").update(proof.value).digest();
    const expected = client?.secretDigest.length === 32 ? client.secretDigest : NO_DIGEST;
    if (timingSafeEqual(digest, expected) && client !== undefined) return client;
    throw TokenErrors.INVALID_CLIENT({ cause: "the secret is not the client's" });
  }

  /**
   * The client whose key has signed an assertion: for this issuer, this purpose, and once.
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
      // As the only one: an assertion for somebody else too could be passed on by him.
      if (aud !== this.#options.issuer) throw new Error("its audience is not this issuer alone");
      if (exp - now / 1000 > MAX_ASSERTION_S + MAX_SKEW_S) throw new Error("it lives too long");
      const id = JSON.stringify(["assertion", name, jti]);
      const lifeS = MAX_ASSERTION_S + 2 * MAX_SKEW_S;
      if (!(await this.#options.spending.once(id, lifeS))) throw new Error("it was used before");
      return client;
    } catch (cause) {
      // That Postgres does not answer says nothing of the client.
      if (cause instanceof StatusError) throw cause;
      throw TokenErrors.INVALID_CLIENT({ cause });
    }
  }

  /** A client that somebody else has vouched for. */
  async vouchedFor(name: string): Promise<Client | undefined> {
    return this.#known.get(name);
  }

  async #find(name: string): Promise<KnownClient | undefined> {
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

/** Who an assertion says it is of: only to find the key that shows whether it is. */
function unverifiedIssuer(jwt: string): string {
  const payload = Buffer.from(jwt.split(".")[1] ?? "", "base64url").toString("utf8");
  const { iss } = JSON.parse(payload) as { iss?: unknown };
  if (typeof iss !== "string" || iss.length > 512) throw new Error("it names no issuer");
  return iss;
}
