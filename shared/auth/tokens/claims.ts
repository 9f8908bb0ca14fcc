import type { JWTPayload } from "jose";

/** The key that a token is bound to (RFC 7800). Its holder proves possession with each call. */
export interface Confirmation {
  /** `jkt`: a DPoP key (RFC 9449 section 6); `x5t#S256`: a client certificate (RFC 8705 section 3). */
  readonly method: "jkt" | "x5t#S256";
  /** SHA-256 in base64url. */
  readonly thumbprint: string;
}

/** An access token's claims (RFC 9068), checked for their shape. */
export interface AccessToken {
  /** `jti`. */
  readonly id: string;
  readonly issuer: string;
  /** `users/{uuid}`, `serviceAccounts/{id}` or `services/{name}`. */
  readonly subject: string;
  /** `client_id`; empty when a user signed in without a client. */
  readonly client: string;
  readonly audiences: readonly string[];
  readonly scopes: readonly string[];
  /** Seconds since the Unix epoch. */
  readonly issuedAt: number;
  readonly expiresAt: number;
  /** The subject's epoch when the first token that this one descends from was issued. */
  readonly epoch: number;
  /** UUID of the sign-in that it descends from (`sid`); undefined without one. */
  readonly family: string | undefined;
  /** The subjects that act on the subject's behalf, the last one first (RFC 8693 section 4.1). */
  readonly actors: readonly string[];
  /** The only subject that may act (RFC 8693 section 4.4). */
  readonly mayAct: string | undefined;
  readonly confirmation: Confirmation | undefined;
}

const MAX_ACTORS = 8;
const MAX_LIST = 64;
const MAX_TEXT = 256;

/**
 * Reads verified claims.
 *
 * @throws Error naming the claim with a wrong shape
 */
export function readClaims(payload: JWTPayload): AccessToken {
  const { iss, sub, aud, exp, iat, jti } = payload;
  const scope = payload["scope"] ?? "";
  return {
    id: text("jti", jti),
    issuer: text("iss", iss),
    subject: text("sub", sub),
    client: text("client_id", payload["client_id"], 0),
    audiences: list("aud", typeof aud === "string" ? [aud] : aud),
    scopes: scope === "" ? [] : list("scope", text("scope", scope, 0, 4096).split(" ")),
    issuedAt: whole("iat", iat),
    expiresAt: whole("exp", exp),
    epoch: whole("epoch", payload["epoch"]),
    family: payload["sid"] === undefined ? undefined : text("sid", payload["sid"]),
    actors: actors(payload["act"]),
    mayAct: payload["may_act"] === undefined ? undefined : subjectOf("may_act", payload["may_act"]),
    confirmation: readConfirmation(payload["cnf"]),
  };
}

function text(name: string, value: unknown, min = 1, max = MAX_TEXT): string {
  if (typeof value === "string" && value.length >= min && value.length <= max) return value;
  throw new Error(`claim ${name} is not a string of ${min} to ${max} characters`);
}

function whole(name: string, value: unknown): number {
  if (Number.isSafeInteger(value) && (value as number) >= 0) return value as number;
  throw new Error(`claim ${name} is not a whole number`);
}

function list(name: string, value: unknown): string[] {
  if (!Array.isArray(value) || value.length > MAX_LIST)
    throw new Error(`claim ${name} is not an array of at most ${MAX_LIST}`);
  return value.map((each) => text(name, each));
}

function subjectOf(name: string, value: unknown): string {
  if (typeof value !== "object" || value === null)
    throw new Error(`claim ${name} is not an object`);
  return text(`${name}.sub`, (value as { sub?: unknown }).sub);
}

function actors(act: unknown): string[] {
  const found: string[] = [];
  for (let each = act; each !== undefined; each = (each as { act?: unknown }).act) {
    if (found.length === MAX_ACTORS) throw new Error(`claim act is deeper than ${MAX_ACTORS}`);
    found.push(subjectOf("act", each));
  }
  return found;
}

/** Reads the claim `cnf` (RFC 7800). @throws Error when it is not understood */
export function readConfirmation(cnf: unknown): Confirmation | undefined {
  if (cnf === undefined) return undefined;
  if (typeof cnf !== "object" || cnf === null) throw new Error("claim cnf is not an object");
  const [entry, ...more] = Object.entries(cnf);
  if (entry === undefined || more.length > 0) throw new Error("claim cnf must name one method");
  const [method, thumbprint] = entry;
  // An unknown binding cannot be checked, so the token is refused.
  if (method !== "jkt" && method !== "x5t#S256")
    throw new Error(`claim cnf.${method} is not supported`);
  return { method, thumbprint: text(`cnf.${method}`, thumbprint, 43, 43) };
}
