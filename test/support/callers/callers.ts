import { createHash, generateKeyPairSync, type KeyObject, randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { type ChannelCredentials, type ChannelOptions, Metadata } from "@grpc/grpc-js";
import { exportJWK, type JWK, SignJWT } from "jose";
import {
  IdentityServiceService,
  ServiceAccount,
  type User,
} from "#proto/waybill/identity/v1/identity.ts";
import {
  type ClientAuthentication,
  type SignInRequest,
  type TokenResponse,
  TokenServiceService,
  type Wanted,
} from "#proto/waybill/token/v1/token.ts";
import { makeProof } from "#shared/auth/tokens/dpop.ts";
import { type CallSettings, createClient, type ServiceClient } from "#shared/client/client.ts";
import { contract } from "../clients.ts";

export const SECRET = "correct horse battery staple";

export interface Person {
  readonly name: string;
  readonly username: string;
  readonly secret: string;
}

export interface Account {
  readonly name: string;
  readonly secret: string;
  /** Authenticates the client. */
  readonly client: ClientAuthentication;
}

export function bearer(jwt: string): { metadata: Metadata } {
  const metadata = new Metadata();
  metadata.set("authorization", `Bearer ${jwt}`);
  return { metadata };
}

/** Calls a cluster with plain clients, which cache and renew nothing. */
export class Callers {
  readonly identity: ServiceClient<typeof IdentityServiceService>;
  readonly token: ServiceClient<typeof TokenServiceService>;
  readonly issuer: string;
  readonly target: string;
  readonly options: { credentials?: ChannelCredentials; channel?: ChannelOptions };
  readonly #adminSecret: string;

  /** @param issuer the first origin of the cluster's front proxy */
  constructor(
    target: string,
    adminSecretFile: string,
    issuer = `http://${target}`,
    options: { credentials?: ChannelCredentials; channel?: ChannelOptions } = {},
  ) {
    const settings = {
      ...options,
      contract,
      timeoutMs: 30_000,
      channel: { "grpc.use_local_subchannel_pool": 1, ...options.channel },
    };
    this.identity = createClient(IdentityServiceService, target, settings);
    this.token = createClient(TokenServiceService, target, settings);
    this.issuer = issuer;
    this.target = target;
    this.options = options;
    this.#adminSecret = readFileSync(adminSecretFile, "utf8");
  }

  close(): void {
    this.identity.close();
    this.token.close();
  }

  /** A call's settings with an administrator's token. */
  async admin(): Promise<{ metadata: Metadata }> {
    const client = clientWith("serviceAccounts/admin", this.#adminSecret);
    const { accessToken } = await this.token.grantClientCredentials({ client, wanted: undefined });
    return bearer(accessToken);
  }

  async account(
    settings: Partial<ServiceAccount> = {},
    id = `a-${randomUUID()}`,
  ): Promise<Account> {
    const admin = await this.admin();
    const serviceAccount = ServiceAccount.fromPartial({
      audiences: ["checkout", "token", "identity", "session"],
      scopes: ["token.introspect"],
      ...settings,
    });
    const { name } = await this.identity.createServiceAccount(
      { serviceAccount, serviceAccountId: id },
      admin,
    );
    if (settings.public) return { name, secret: "", client: { client: name, proof: undefined } };
    const { secret } = await this.identity.rotateServiceAccountSecret({ name }, admin);
    return { name, secret, client: clientWith(name, secret) };
  }

  /** Created by an administrator, because sign-up is limited by address and all tests share one. */
  async person(username = `u-${randomUUID()}`): Promise<Person> {
    const user = { username, displayName: "Ada", scopes: [], disabled: false } as Partial<User>;
    const created = await this.identity.createUser(
      { user: user as User, secret: SECRET },
      await this.admin(),
    );
    return { name: created.name, username, secret: SECRET };
  }

  signIn(
    { username, secret }: Pick<Person, "username" | "secret">,
    more: Partial<SignInRequest> = {},
    settings: CallSettings = {},
  ): Promise<TokenResponse> {
    const request = { client: undefined, wanted: undefined, device: "", ...more };
    return this.token.signIn({ username, secret, ...request }, settings);
  }

  refresh(
    refreshToken: string,
    {
      key = "",
      client,
      wanted,
    }: { key?: string; client?: ClientAuthentication; wanted?: Wanted } = {},
    settings: CallSettings = {},
  ): Promise<TokenResponse> {
    const request = { refreshToken, idempotencyKey: key, client, wanted };
    return this.token.refresh(request, settings);
  }

  grant(client: ClientAuthentication, wanted?: Wanted): Promise<TokenResponse> {
    return this.token.grantClientCredentials({ client, wanted });
  }
}

function clientWith(client: string, secret: string): ClientAuthentication {
  return { client, proof: { $case: "secret", value: secret } };
}

/** A caller's key that signs a proof for each call (DPoP, RFC 9449). */
export class ProofKey {
  readonly key: KeyObject;
  readonly jwk: JWK;

  constructor(type: "ed25519" | "ec" = "ed25519") {
    const { privateKey } =
      type === "ed25519"
        ? generateKeyPairSync("ed25519")
        : generateKeyPairSync("ec", { namedCurve: "P-256" });
    this.key = privateKey;
    this.jwk = privateKey.export({ format: "jwk" }) as JWK;
  }

  /** Settings of a call with a proof and the bound token. */
  proving(url: string, token?: string): { metadata: Metadata } {
    const metadata = new Metadata();
    if (token !== undefined) metadata.set("authorization", `DPoP ${token}`);
    metadata.set("dpop", makeProof(this.key, this.jwk, url, token));
    return { metadata };
  }
}

/** A key pair that signs JWTs, and its JWK set. */
export async function makeSigner(kid: string, alg: "EdDSA" | "ES256" | "RS256" = "EdDSA") {
  const { privateKey, publicKey } =
    alg === "EdDSA"
      ? generateKeyPairSync("ed25519")
      : alg === "ES256"
        ? generateKeyPairSync("ec", { namedCurve: "P-256" })
        : generateKeyPairSync("rsa", { modulusLength: 2048 });
  const jwk = { ...(await exportJWK(publicKey)), kid, alg };
  return {
    jwk,
    jwks: JSON.stringify({ keys: [jwk] }),
    /** @param header changes to the header, such as another `typ` */
    sign(claims: Record<string, unknown>, header: Record<string, unknown> = {}): Promise<string> {
      return new SignJWT({ jti: randomUUID(), ...claims })
        .setProtectedHeader({ alg, kid, ...header })
        .sign(privateKey);
    },
  };
}

/** Claims of a client assertion (private_key_jwt), valid for a minute. */
export function assertionOf(name: string, issuer: string): Record<string, unknown> {
  const now = Math.floor(Date.now() / 1000);
  return { iss: name, sub: name, aud: issuer, iat: now, exp: now + 60 };
}

/** Reads the claims of a JWT without verifying it. */
export function claimsOf(jwt: string): Record<string, unknown> {
  return JSON.parse(Buffer.from(jwt.split(".")[1]!, "base64url").toString("utf8"));
}

export function sha256(text: string): string {
  return createHash("sha256").update(text).digest("base64url");
}
