import { jwtVerify } from "jose";
import { StatusError } from "waybill";
import type { Assertions } from "waybill/auth";
import type { ServiceClient } from "waybill/client";
import { IdentityServiceService, type Issuer } from "#proto/waybill/identity/v1/identity.ts";
import { MAX_SKEW_S } from "#shared/auth/tokens/accessTokens.ts";
import { type Confirmation, readConfirmation } from "#shared/auth/tokens/claims.ts";
import { readHeader } from "#shared/auth/tokens/header.ts";
import { TokenErrors } from "../errors.ts";
import { Memo } from "../memo.ts";
import { askIdentity } from "./askIdentity.ts";
import { ExternalJwks } from "./externalJwks.ts";

const CACHED_MS = 10_000;
const MAX_DEPTH = 8;

export interface ExternalIssuersOptions {
  /** This system's own issuer URL: the default audience of external tokens. */
  issuer: string;
  identity: Pick<ServiceClient<typeof IdentityServiceService>, "findIssuer">;
  assertions: Assertions;
  now?: () => number;
}

/** Verified claims of a trusted issuer's JWT. */
export interface ExternalSubject {
  /** The service account that the token authenticates: `serviceAccounts/{id}`. */
  readonly account: string;
  readonly subject: string;
  /** Seconds since the Unix epoch. */
  readonly expiresAt: number;
  readonly boundTo: Confirmation | undefined;
}

interface KnownIssuer {
  readonly issuer: Issuer;
  readonly jwks: ExternalJwks;
}

/** Verifies JWTs of trusted issuers, such as service-account tokens of a Kubernetes cluster. */
export class ExternalIssuers {
  readonly #options: ExternalIssuersOptions;
  readonly #known: Memo<KnownIssuer | undefined>;
  /** By `iss`. Keys stay cached until the settings of the issuer change. */
  readonly #jwks = new Map<string, { settings: string; jwks: ExternalJwks }>();

  constructor(options: ExternalIssuersOptions) {
    this.#options = options;
    this.#known = new Memo((issuer) => this.#find(issuer), CACHED_MS);
  }

  /**
   * Verifies a JWT by its issuer's keys, algorithms and audience, and finds the service account of the
   * first binding whose claims the token has.
   *
   * @throws StatusError INVALID_GRANT; ISSUER_UNAVAILABLE, IDENTITY_UNAVAILABLE
   */
  async resolve(jwt: string): Promise<ExternalSubject> {
    try {
      // Other types, such as our own `at+jwt`, are never external tokens.
      const { kid } = readHeader(jwt, ["JWT", undefined]);
      const { iss } = unverifiedClaims(jwt);
      if (typeof iss !== "string" || iss.length > 512) throw new Error("no issuer");
      const known = await this.#known.get(iss);
      if (known === undefined) throw new Error("untrusted issuer");
      const { issuer, jwks } = known;
      const key = jwks.find(kid) ?? (await this.#fetch(jwks, kid));
      const { payload } = await jwtVerify(jwt, key.key, {
        algorithms: [key.algorithm],
        issuer: issuer.issuer,
        audience: issuer.audience || this.#options.issuer,
        clockTolerance: MAX_SKEW_S,
        currentDate: new Date(this.#options.now?.() ?? Date.now()),
        requiredClaims: ["iss", "sub", "aud", "exp", "iat"],
      });
      const binding = issuer.bindings.find(({ claims }) =>
        Object.entries(claims).every(([path, value]) => claimAt(payload, path) === value),
      );
      if (binding === undefined) throw new Error("no binding matches the claims");
      const subject = String(payload.sub).slice(0, 200);
      const boundTo = readConfirmation(payload["cnf"]);
      return { account: binding.serviceAccount, subject, expiresAt: payload.exp!, boundTo };
    } catch (cause) {
      if (cause instanceof StatusError) throw cause;
      throw TokenErrors.INVALID_GRANT({ cause });
    }
  }

  async #fetch(jwks: ExternalJwks, kid: string) {
    try {
      await jwks.refresh();
    } catch (cause) {
      throw TokenErrors.ISSUER_UNAVAILABLE({ cause, retryAfterMs: 10_000 });
    }
    const key = jwks.find(kid);
    if (key === undefined) throw new Error("unknown key");
    return key;
  }

  async #find(iss: string): Promise<KnownIssuer | undefined> {
    const { identity, assertions } = this.#options;
    const metadata = await assertions.to(IdentityServiceService.findIssuer);
    const { issuer } = await askIdentity(identity.findIssuer({ issuer: iss }, { metadata }));
    if (issuer === undefined) {
      this.#jwks.delete(iss);
      return undefined;
    }
    const { jwksUri: uri, caCertificate, algorithms } = issuer;
    const settings = JSON.stringify([uri, caCertificate, algorithms]);
    let cached = this.#jwks.get(iss);
    if (cached?.settings !== settings) {
      cached = { settings, jwks: new ExternalJwks({ uri, caCertificate, algorithms }) };
      this.#jwks.set(iss, cached);
    }
    return { issuer, jwks: cached.jwks };
  }
}

/** Reads the claims of a JWT, to choose the keys that verify it. */
function unverifiedClaims(jwt: string): { iss?: unknown } {
  const text = new TextDecoder("utf-8", { fatal: true }).decode(
    Buffer.from(jwt.split(".")[1] ?? "", "base64url"),
  );
  const claims: unknown = JSON.parse(text);
  if (typeof claims !== "object" || claims === null) throw new Error("claims are not an object");
  return claims;
}

/**
 * Reads the claim at a path. A dot may be part of a name, as in `kubernetes.io`: tries the longest name
 * first.
 */
function claimAt(claims: unknown, path: string, depth = 0): unknown {
  if (typeof claims !== "object" || claims === null || depth > MAX_DEPTH) return undefined;
  if (Object.hasOwn(claims, path)) return (claims as Record<string, unknown>)[path];
  for (let dot = path.lastIndexOf("."); dot > 0; dot = path.lastIndexOf(".", dot - 1)) {
    const head = path.slice(0, dot);
    if (!Object.hasOwn(claims, head)) continue;
    return claimAt((claims as Record<string, unknown>)[head], path.slice(dot + 1), depth + 1);
  }
  return undefined;
}
