import { createPrivateKey, generateKeyPairSync, type KeyObject, randomBytes } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import {
  InterceptingCall,
  type Interceptor,
  Metadata,
  type ServiceError,
  status,
} from "@grpc/grpc-js";
import type { JWK } from "jose";
import { Access, Step } from "../../../proto/gen/waybill/options/v1/options.ts";
import {
  type ClientAuthentication,
  type TokenResponse,
  TokenServiceService,
} from "../../../proto/gen/waybill/token/v1/token.ts";
import { makeProof } from "../../auth/tokens/dpop.ts";
import type { Contract } from "../../contract/contract.ts";
import { readError } from "../../errors.ts";
import { setSecret } from "../../waybill/metadata.ts";
import { type ClientOptions, createClient, type ServiceClient } from "../client.ts";
import { type AttemptOptions, backoffMs, MAX_ATTEMPTS } from "../retryPlan.ts";
import type { Store } from "./stores.ts";

const STORE_KEY = "sign-in/tokens";
/** A token is renewed after this part of its lifetime, give or take a tenth. */
const RENEW_AT = 0.8;
/** A proof is good for a minute; one is used for half of it. */
const PROOF_REUSE_MS = 30_000;
const MAX_PROOFS = 1000;

/** How a person signs in. */
export interface SignInOptions {
  /** gRPC target of the token service: the front proxy. */
  target: string;
  /** TLS and the like. Default: plaintext. */
  client?: Pick<ClientOptions, "credentials" | "channel" | "timeoutMs">;
  /**
   * The front proxy's public address, such as `https://api.example.com`. With it tokens are bound to a key
   * of this jar (DPoP, RFC 9449): a stolen token cannot be used without the key.
   */
  origin?: string;
  /** The registered client that people sign in with: `serviceAccounts/{id}`. Default: none. */
  clientName?: string;
}

/** A sign-in as it is stored. */
interface Kept {
  refreshToken: string;
  accessToken: string;
  /** Milliseconds since the Unix epoch, by this machine's clock. */
  renewAt: number;
  /** Stored before a refresh is sent, until its response is: a repeated refresh has the same key. */
  idempotencyKey?: string;
  /** The private key that the tokens are bound to. */
  key?: JWK;
}

/** Keeps a person signed in: stores the tokens, and renews them before they expire. */
export class SignIn {
  readonly #store: Store;
  readonly #options: SignInOptions;
  readonly #token: ServiceClient<typeof TokenServiceService>;
  readonly #proofs = new Map<string, { proof: string; at: number }>();
  #key: { of: string; key: KeyObject; jwk: JWK } | undefined;
  #renewing: Promise<void> | undefined;

  /** @throws Error naming the option that breaks a rule */
  constructor(store: Store, options: SignInOptions) {
    const { target, origin } = options;
    if (typeof target !== "string" || target === "") {
      throw new Error("Jar: signIn.target must be the gRPC target of the token service");
    }
    // The service refuses every proof for another address than the one that callers use.
    if (origin !== undefined && !/^https?:\/\/[^/?#\s]+$/.test(origin)) {
      throw new Error("Jar: signIn.origin must be like https://host:port, without a path");
    }
    this.#store = store;
    this.#options = options;
    this.#token = createClient(TokenServiceService, options.target, { ...options.client });
  }

  get isSignedIn(): boolean {
    return this.#read() !== undefined;
  }

  /** Rejects with the service's error when it refuses. @param device names the sign-in in the user's list */
  async signIn(username: string, secret: string, device = ""): Promise<void> {
    const jwk = this.#options.origin === undefined ? undefined : makeKey();
    const { path } = TokenServiceService.signIn;
    const metadata = this.#metadata(path, jwk, undefined);
    const answer = await this.#token.signIn(
      { client: this.#client(), username, secret, device, wanted: undefined },
      { metadata },
    );
    this.#keep(answer, jwk);
  }

  /** Ends the sign-in everywhere; where the service is unavailable, only in this jar. */
  async signOut(): Promise<void> {
    const kept = this.#read();
    this.forget();
    if (kept === undefined) return;
    await this.#token.revoke({ client: this.#client(), token: kept.refreshToken });
  }

  /** Forgets the tokens without telling the service. */
  forget(): void {
    this.#store.delete(STORE_KEY);
    this.#proofs.clear();
  }

  /**
   * Adds the access token and its proof to a call. First renews a token that is about to expire; one that
   * cannot be renewed now is sent as it is.
   *
   * @param path `/package.Service/Method`
   * @returns the access token used; undefined: signed out
   */
  async authorize(path: string, metadata: Metadata): Promise<string | undefined> {
    let kept = this.#read();
    if (kept === undefined) return undefined;
    if (Date.now() >= kept.renewAt) {
      // The token may still be valid. Without it the service would refuse the session, and the jar would
      // drop a valid waybill because of a failure of the token service.
      await this.renew(kept.accessToken).catch(() => {});
      kept = this.#read();
      if (kept === undefined) return undefined;
    }
    const { accessToken, key } = kept;
    const scheme = key === undefined ? "Bearer" : "DPoP";
    setSecret(metadata, "authorization", `${scheme} ${accessToken}`);
    if (key !== undefined) metadata.set("dpop", this.#proof(path, key, accessToken));
    return accessToken;
  }

  /**
   * Renews the access token, in one request for all waiting calls. Does nothing when it was replaced
   * already. Forgets a sign-in that has ended.
   */
  async renew(accessToken: string): Promise<void> {
    if (this.#read()?.accessToken !== accessToken) return;
    this.#renewing ??= this.#renew().finally(() => {
      this.#renewing = undefined;
    });
    await this.#renewing;
  }

  /** Renews an access token that a service refused. Rejects when the sign-in has ended. */
  async replace(refused: string): Promise<void> {
    await this.renew(refused);
    if (!this.isSignedIn) throw new Error("the sign-in has ended");
  }

  close(): void {
    this.#token.close();
  }

  async #renew(): Promise<void> {
    const kept = this.#read();
    if (kept === undefined) return;
    const idempotencyKey = kept.idempotencyKey ?? randomBytes(16).toString("base64url");
    // Stored before it is sent: if the response is lost, and this program ends, its next run repeats
    // this very refresh.
    if (kept.idempotencyKey === undefined) this.#write({ ...kept, idempotencyKey });
    const { path } = TokenServiceService.refresh;
    const request = {
      client: this.#client(),
      refreshToken: kept.refreshToken,
      idempotencyKey,
      wanted: undefined,
    };
    for (let attempt = 1; ; attempt += 1) {
      try {
        // A proof is good for one attempt.
        const metadata = this.#metadata(path, kept.key, undefined);
        this.#keep(await this.#token.refresh(request, { metadata }), kept.key);
        return;
      } catch (error) {
        const failure = error as ServiceError;
        if (readError(failure).reason === "INVALID_GRANT") this.forget();
        const timedOut = failure.code === status.DEADLINE_EXCEEDED;
        const afterMs = timedOut ? 0 : backoffMs(failure, attempt);
        if (afterMs === undefined || attempt >= MAX_ATTEMPTS) throw error;
        await delay(afterMs);
      }
    }
  }

  #keep(answer: TokenResponse, key: JWK | undefined): void {
    const { refreshToken, accessToken, expiresInSeconds } = answer;
    const share = RENEW_AT * (0.9 + Math.random() * 0.2);
    const renewAt = Date.now() + expiresInSeconds * 1000 * share;
    this.#write({ refreshToken, accessToken, renewAt, ...(key && { key }) });
  }

  #read(): Kept | undefined {
    const text = this.#store.get(STORE_KEY);
    return text === undefined ? undefined : (JSON.parse(text) as Kept);
  }

  #write(kept: Kept): void {
    this.#store.set(STORE_KEY, JSON.stringify(kept));
  }

  #client(): ClientAuthentication | undefined {
    const { clientName } = this.#options;
    return clientName === undefined ? undefined : { client: clientName, proof: undefined };
  }

  #metadata(path: string, key: JWK | undefined, token: string | undefined): Metadata {
    const metadata = new Metadata();
    if (key !== undefined) {
      const { privateKey, publicJwk } = this.#keyOf(key);
      metadata.set("dpop", makeProof(privateKey, publicJwk, this.#url(path), token));
    }
    return metadata;
  }

  #proof(path: string, key: JWK, token: string): string {
    const known = this.#proofs.get(path);
    if (known !== undefined && Date.now() - known.at < PROOF_REUSE_MS) {
      if (known.proof.startsWith(`${token}\n`)) return known.proof.slice(token.length + 1);
    }
    const { privateKey, publicJwk } = this.#keyOf(key);
    const proof = makeProof(privateKey, publicJwk, this.#url(path), token);
    if (this.#proofs.size >= MAX_PROOFS) this.#proofs.clear();
    this.#proofs.set(path, { proof: `${token}\n${proof}`, at: Date.now() });
    return proof;
  }

  #url(path: string): string {
    return `${this.#options.origin}${path}`;
  }

  #keyOf(jwk: JWK): { privateKey: KeyObject; publicJwk: JWK } {
    const of = jwk.x ?? "";
    if (this.#key?.of !== of) {
      const key = createPrivateKey({ key: jwk as Record<string, string>, format: "jwk" });
      this.#key = { of, key, jwk };
    }
    return { privateKey: this.#key.key, publicJwk: this.#key.jwk };
  }
}

/**
 * Sends the access token of the signed-in person with the calls that look at it. A repeated attempt sends
 * the same one, unless that was refused.
 */
export function authorizing(contract: Contract, signIn: SignIn): Interceptor {
  return (options: AttemptOptions, nextCall) => {
    const { path } = options.method_definition;
    const method = contract.find(path);
    const isOwned =
      method?.access === Access.ACCESS_PUBLIC && method.step !== Step.STEP_UNSPECIFIED;
    const looksAtToken = isOwned || method?.access === Access.ACCESS_AUTHENTICATED;
    const isFresh = options.attempt?.freshToken ?? true;
    const call = nextCall(options);
    if (!looksAtToken || !isFresh) return new InterceptingCall(call);
    return new InterceptingCall(call, {
      start(metadata, listener, next) {
        const begin = () => next(metadata, listener);
        // Without a token the service decides.
        signIn.authorize(path, metadata).then(begin, begin);
      },
    });
  };
}

function makeKey(): JWK {
  return generateKeyPairSync("ed25519").privateKey.export({ format: "jwk" }) as JWK;
}
