import { randomUUID } from "node:crypto";
import { Metadata } from "@grpc/grpc-js";
import { exportJWK, SignJWT } from "jose";
import { LRUCache } from "lru-cache";
import { Access, Step } from "../../proto/gen/waybill/options/v1/options.ts";
import {
  type ClientAuthentication,
  TokenKind,
  type TokenResponse,
  TokenServiceService,
} from "../../proto/gen/waybill/token/v1/token.ts";
import {
  type BoundAuthorization,
  type ClientOptions,
  createClient,
  type ServiceClient,
} from "../client/client.ts";
import type { Contract } from "../contract/contract.ts";
import type { Caller } from "../contract/handlers.ts";
import type { Credentials } from "./credentials/credentials.ts";
import { signProof } from "./tokens/dpop.ts";

const ASSERTION_LIFE_S = 60;
/** A token is renewed in the background after this share of its lifetime, give or take a tenth. */
const RENEW_AT = 0.7;
/** A token that expires sooner than this is not used. */
const MIN_LEFT_MS = 5000;
/** Deadline of a token request; the call that waits for it has its own deadline. */
const TIMEOUT_MS = 2000;
const MAX_EXCHANGED = 10_000;

/** Options of a service's tokens. */
export interface ServiceTokensOptions {
  contract: Contract;
  /** gRPC target of the token service, and its issuer address. */
  target: string;
  issuer: string;
  /**
   * The system's public address, such as `https://api.example.com`, which DPoP proofs name. Default: the issuer.
   */
  origin?: string | undefined;
  /** TLS and the like. Default: plaintext. */
  client?: Pick<ClientOptions, "credentials" | "channel"> | undefined;
  /** The service of this process. */
  service: string;
  credentials: Credentials;
  /** A monotonic clock, in ms. */
  monotonic?: () => number;
}

interface Held {
  current: { jwt: string; renewAt: number; until: number } | undefined;
  fetching: Promise<string> | undefined;
}

/**
 * Fetches and caches the tokens that a service calls others with: its own, or, while it serves a caller, a token
 * in which it acts on the caller's behalf (token exchange, RFC 8693). It never forwards the caller's own token.
 * Concurrent calls share one request, and tokens are renewed before they expire.
 *
 * A caller's token that is bound to a key is exchanged for one that is bound to the service's own key
 * (RFC 9449). All replicas have this key, so another replica can continue the session.
 */
export class ServiceTokens {
  readonly #options: ServiceTokensOptions;
  readonly #token: ServiceClient<typeof TokenServiceService>;
  readonly #monotonic: () => number;
  readonly #own = new Map<string, Held>();
  readonly #exchanged = new LRUCache<string, Held>({ max: MAX_EXCHANGED });

  constructor(options: ServiceTokensOptions) {
    this.#options = options;
    const { target, client, contract } = options;
    this.#monotonic = options.monotonic ?? (() => performance.now());
    this.#token = createClient(TokenServiceService, target, {
      contract,
      timeoutMs: TIMEOUT_MS,
      ...client,
    });
  }

  /**
   * Makes the `authorization` of a call, for `createClient`; with a DPoP proof where the caller's token is bound
   * to a key.
   *
   * @param caller the caller of the call that is being served
   * @returns undefined for a method that reads no token
   */
  readonly authorize = async (
    path: string,
    caller: Caller | undefined,
  ): Promise<string | BoundAuthorization | undefined> => {
    const { access, step, audience } = this.#options.contract.method(path);
    const isOwned = access === Access.ACCESS_PUBLIC && step !== Step.STEP_UNSPECIFIED;
    if (audience === undefined || !(access === Access.ACCESS_AUTHENTICATED || isOwned)) {
      return undefined;
    }
    const { jwt, token } = caller ?? {};
    if (jwt === undefined) return `Bearer ${await this.own(audience)}`;
    if (token?.confirmation === undefined) return `Bearer ${await this.onBehalfOf(jwt, audience)}`;
    const bound = await this.#exchangedFor(jwt, audience, true);
    return { authorization: `DPoP ${bound}`, dpop: await this.#proof(path, bound) };
  };

  /** Returns the service's own token. */
  own(audience: string): Promise<string> {
    const held = this.#own.get(audience) ?? { current: undefined, fetching: undefined };
    this.#own.set(audience, held);
    return this.#use(held, async () =>
      this.#token.grantClientCredentials({
        client: await this.#authentication(),
        wanted: { scopes: [], audiences: [audience], mayAct: "" },
      }),
    );
  }

  /**
   * Exchanges a caller's token for one in which the service acts on the caller's behalf.
   *
   * @throws StatusError BINDING_REQUIRED: the caller's token is bound to a key; use `authorize`
   */
  onBehalfOf(jwt: string, audience: string): Promise<string> {
    return this.#exchangedFor(jwt, audience, false);
  }

  #exchangedFor(jwt: string, audience: string, isBound: boolean): Promise<string> {
    const key = `${audience}\0${jwt}`;
    let held = this.#exchanged.get(key);
    if (held === undefined) {
      held = { current: undefined, fetching: undefined };
      this.#exchanged.set(key, held);
    }
    return this.#use(held, async () => {
      const metadata = new Metadata();
      if (isBound) metadata.set("dpop", await this.#proof(TokenServiceService.exchange.path));
      const request = {
        client: await this.#authentication(),
        subjectToken: jwt,
        subjectTokenType: TokenKind.TOKEN_KIND_ACCESS_TOKEN,
        actorToken: "",
        wanted: { scopes: [], audiences: [audience], mayAct: "" },
        impersonate: false,
      };
      return this.#token.exchange(request, { metadata });
    });
  }

  async #proof(path: string, token?: string): Promise<string> {
    const { origin, issuer, service, credentials } = this.#options;
    const peer = await credentials.peer(service);
    if (peer === undefined) throw new Error(`services.jwks.json has no key of ${service}`);
    const [key, jwk] = await Promise.all([credentials.own(service), exportJWK(peer.key)]);
    return signProof(key, jwk, `${origin ?? issuer}${path}`, token);
  }

  close(): void {
    this.#token.close();
  }

  async #use(held: Held, grant: () => Promise<TokenResponse>): Promise<string> {
    const now = this.#monotonic();
    const { current } = held;
    if (current !== undefined && now < current.renewAt) return current.jwt;
    held.fetching ??= this.#fetch(held, grant).finally(() => {
      held.fetching = undefined;
    });
    // A call does not wait for a new token while the current one is valid.
    if (current !== undefined && now < current.until) {
      held.fetching.catch(() => {});
      return current.jwt;
    }
    return held.fetching;
  }

  async #fetch(held: Held, grant: () => Promise<TokenResponse>): Promise<string> {
    const askedAt = this.#monotonic();
    const { accessToken: jwt, expiresInSeconds } = await grant();
    const lifeMs = expiresInSeconds * 1000;
    held.current = {
      jwt,
      renewAt: askedAt + lifeMs * RENEW_AT * (0.9 + Math.random() * 0.2),
      until: askedAt + lifeMs - MIN_LEFT_MS,
    };
    return jwt;
  }

  /** Makes an assertion for one request (RFC 7523 section 3). */
  async #authentication(): Promise<ClientAuthentication> {
    const { service, credentials, issuer } = this.#options;
    const client = `services/${service}`;
    const assertion = await new SignJWT()
      .setProtectedHeader({ alg: "EdDSA", typ: "client-authentication+jwt", kid: service })
      .setIssuer(client)
      .setSubject(client)
      .setAudience(issuer)
      .setIssuedAt()
      .setExpirationTime(`${ASSERTION_LIFE_S}s`)
      .setJti(randomUUID())
      .sign(await credentials.own(service));
    return { client, proof: { $case: "assertion", value: assertion } };
  }
}
