import { parseArgs } from "node:util";
import { SIGNING_ALGORITHMS, type SigningAlgorithm } from "#shared/auth/tokens/verificationKeys.ts";
import { type Argon2Cost, DEFAULT_COST, parseCost } from "../../identity/secretHasher.ts";
import { ConfigError } from "../failure.ts";
import {
  readChoice,
  readSecretFile,
  readVariables,
  readWhole,
  required,
  type Variables,
} from "./environment.ts";

export const ROLES = ["keys", "identity", "token", "session", "catalog", "checkout"] as const;
export type Role = (typeof ROLES)[number];

const LOG_LEVELS = ["trace", "debug", "info", "warn", "error", "fatal"];
const DAY_S = 24 * 60 * 60;
const MAX_INT32 = 2 ** 31 - 1;

/** Settings of one replica, read once at start. Frozen. */
export interface Config {
  readonly roles: readonly Role[];
  /** Host and port; port 0 takes a free one. */
  readonly listen: string;
  /** Host and port of a plaintext listener for health checks only; undefined: none. */
  readonly probe: string | undefined;
  /** Folder of `ca.crt`, `tls.crt`, `tls.key`; undefined: plaintext. */
  readonly tlsDir: string | undefined;
  readonly logLevel: string;
  readonly credentialsDir: string;
  /** gRPC target; undefined: this replica. */
  readonly keysAddress: string | undefined;
  /** gRPC target; undefined: this replica, or no access tokens if it does not serve the role token. */
  readonly tokenAddress: string | undefined;
  /** Public addresses of this system, such as `https://api.example.com`. */
  readonly origins: readonly string[];
  /** `iss` of access tokens. */
  readonly issuer: string;
  /** Authenticates the front proxy; undefined: the replica ignores forwarding metadata. */
  readonly frontProxySecret: string | undefined;
  /** A replica that has received no revocations for longer refuses protected calls. */
  readonly revocationBoundMs: number;
  readonly accessTokenLifeS: number;
  /** Longest absolute life of sessions of other services; those of this program's protos are known. */
  readonly longestSessionS: number;
  readonly maxConnectionAgeMs: number;
  /** How long the replica reports NOT_SERVING before it drains. */
  readonly drainDelayMs: number;
  /** Settings of each role that the replica serves; undefined: it does not serve the role. */
  readonly keys: KeysConfig | undefined;
  readonly identity: IdentityConfig | undefined;
  readonly token: TokenConfig | undefined;
  readonly session: SessionConfig | undefined;
  readonly catalog: CatalogConfig | undefined;
  readonly checkout: CheckoutConfig | undefined;
}

/** A role's connection pool. */
export interface DatabaseConfig {
  readonly url: string;
  readonly connections: number;
  /** True if statements are prepared; false behind a pooler in transaction mode. */
  readonly prepare: boolean;
}

export interface SessionConfig {
  readonly database: DatabaseConfig;
}

export interface KeysConfig extends SessionConfig {
  readonly keyEncryptionKeyFile: string;
  /** How long a ring's key seals. */
  readonly ringRotateS: number;
  readonly ringLeaseS: number;
}

export interface IdentityConfig extends SessionConfig {
  readonly argon2: Argon2Cost;
  /** True if users may create their own accounts. */
  readonly openSignUp: boolean;
}

export interface TokenConfig extends SessionConfig {
  readonly keyEncryptionKeyFile: string;
  /** gRPC target; undefined: this replica. */
  readonly identityAddress: string | undefined;
  readonly signingAlgorithm: SigningAlgorithm;
  /** How long a signing key is published before it signs. */
  readonly keyPublishS: number;
  /** Rate limit of each client. */
  readonly grantsPerMinute: number;
}

export interface CatalogConfig extends SessionConfig {
  /** Most memory of this role's cached responses; 0: no cache. */
  readonly cacheBytes: number;
}

export interface CheckoutConfig extends CatalogConfig {
  /** gRPC targets; undefined: this replica. */
  readonly catalogAddress: string | undefined;
  readonly sessionAddress: string | undefined;
  /** gRPC target; undefined: this replica, if it serves the role identity. */
  readonly identityAddress: string | undefined;
}

interface Source {
  readonly env: Variables;
  readonly roles: readonly Role[];
}

/**
 * Reads the command line and the environment.
 *
 * @throws ConfigError naming the flag or variable, and what was expected
 */
export function readConfig(argv: string[], environment: NodeJS.ProcessEnv): Config | "help" {
  const flags = parseFlags(argv);
  if (flags.help) return "help";
  const env = readVariables(environment);
  const roles = parseRoles(flags.roles);
  const origins = roles.every((role) => role === "keys") ? [] : readOrigins(env);
  return Object.freeze({
    roles,
    listen: checkAddress("--listen", flags.listen),
    probe: flags.probe === undefined ? undefined : checkAddress("--probe", flags.probe),
    tlsDir: env["WAYBILL_TLS_DIR"],
    logLevel: readLogLevel(env),
    credentialsDir: required(
      env,
      "WAYBILL_CREDENTIALS_DIR",
      "it names the folder of the services' keys",
    ),
    origins,
    issuer: env["WAYBILL_ISSUER"] ?? origins[0] ?? "",
    frontProxySecret: readFrontProxySecret(env["WAYBILL_FRONT_PROXY_SECRET_FILE"]),
    revocationBoundMs: readWhole(env, "WAYBILL_REVOCATION_BOUND_MS", 30_000, 1000, 300_000),
    accessTokenLifeS: readWhole(env, "WAYBILL_ACCESS_TOKEN_LIFE_S", 300, 10, 3600),
    longestSessionS: readWhole(env, "WAYBILL_LONGEST_SESSION_S", 0, 0, 366 * DAY_S),
    maxConnectionAgeMs: readWhole(env, "WAYBILL_MAX_CONNECTION_AGE_MS", 300_000, 1000, MAX_INT32),
    drainDelayMs: readWhole(env, "WAYBILL_DRAIN_DELAY_MS", 0, 0, 60_000),
    ...readRoles({ env, roles }),
  });
}

function readRoles(source: Source) {
  const { env, roles } = source;
  const serves = (role: Role) => roles.includes(role);
  return {
    keysAddress: readTarget(source, "keys", "this replica does not serve keys itself"),
    tokenAddress: serves("identity")
      ? readTarget(source, "token", "identity ends sign-ins there")
      : env["WAYBILL_TOKEN_ADDRESS"],
    keys: serves("keys") ? readKeys(source) : undefined,
    identity: serves("identity") ? readIdentity(source) : undefined,
    token: serves("token") ? readToken(source) : undefined,
    session: serves("session") ? readSession(source) : undefined,
    catalog: serves("catalog") ? readCatalog(source) : undefined,
    checkout: serves("checkout") ? readCheckout(source) : undefined,
  };
}

function readKeys({ env }: Source): KeysConfig {
  const database = readDatabase(env, "keys");
  if (database.connections < 2) {
    throw new ConfigError(
      "WAYBILL_DATABASE_CONNECTIONS=1: the role keys needs at least 2, because one listens",
    );
  }
  return Object.freeze({
    // The feed listens on its connection for as long as it lives, so no pooler stands in between.
    database: Object.freeze({ ...database, prepare: true }),
    keyEncryptionKeyFile: readKeyEncryptionKeyFile(env),
    ringRotateS: readWhole(env, "WAYBILL_RING_ROTATE_S", 30 * DAY_S, 60, 365 * DAY_S),
    ringLeaseS: readWhole(env, "WAYBILL_RING_LEASE_S", 30, 5, 300),
  });
}

function readIdentity({ env }: Source): IdentityConfig {
  return Object.freeze({
    database: readDatabase(env, "identity"),
    argon2: readCost(env["WAYBILL_ARGON2"]),
    openSignUp: readChoice(env, "WAYBILL_SIGN_UP", ["open", "closed"]) === "open",
  });
}

function readToken(source: Source): TokenConfig {
  const { env } = source;
  return Object.freeze({
    database: readDatabase(env, "token"),
    keyEncryptionKeyFile: readKeyEncryptionKeyFile(env),
    identityAddress: readTarget(source, "identity", "token reads accounts there"),
    signingAlgorithm: readChoice(env, "WAYBILL_SIGNING_ALGORITHM", SIGNING_ALGORITHMS),
    keyPublishS: readWhole(env, "WAYBILL_KEY_PUBLISH_S", 1200, 0, DAY_S),
    grantsPerMinute: readWhole(env, "WAYBILL_GRANTS_PER_MINUTE", 6000, 1, MAX_INT32),
  });
}

function readSession({ env }: Source): SessionConfig {
  return Object.freeze({ database: readDatabase(env, "session") });
}

function readCatalog(source: Source): CatalogConfig {
  return Object.freeze({
    database: readDatabase(source.env, "catalog"),
    cacheBytes: readCacheBytes(source),
  });
}

function readCheckout(source: Source): CheckoutConfig {
  return Object.freeze({
    database: readDatabase(source.env, "checkout"),
    cacheBytes: readCacheBytes(source),
    catalogAddress: readTarget(source, "catalog", "checkout reads prices there"),
    sessionAddress: readTarget(source, "session", "checkout lists its sessions there"),
    identityAddress: source.env["WAYBILL_IDENTITY_ADDRESS"],
  });
}

function readDatabase(env: Variables, role: Role): DatabaseConfig {
  const name = `WAYBILL_DATABASE_URL_${role.toUpperCase()}`;
  return Object.freeze({
    url: required(env, name, `the role ${role} stores its data in Postgres`),
    connections: readWhole(env, "WAYBILL_DATABASE_CONNECTIONS", 5, 1, 100),
    prepare: readChoice(env, "WAYBILL_DATABASE_PREPARE", ["on", "off"]) === "on",
  });
}

/**
 * Reads one role's share of the replica's cache. Roles do not share a cache: callers that read much of the
 * catalog cannot evict checkout's entries.
 */
function readCacheBytes({ env, roles }: Source): number {
  const bytes = readWhole(env, "WAYBILL_CACHE_BYTES", 16 * 1024 ** 2, 0, 64 * 1024 ** 3);
  return roles.includes("catalog") && roles.includes("checkout") ? Math.floor(bytes / 2) : bytes;
}

/** Reads a service's gRPC target; undefined: this replica, which serves the role. */
function readTarget({ env, roles }: Source, role: Role, why: string): string | undefined {
  const name = `WAYBILL_${role.toUpperCase()}_ADDRESS`;
  return roles.includes(role) ? env[name] : required(env, name, why);
}

function readKeyEncryptionKeyFile(env: Variables): string {
  const why = "the roles keys and token wrap keys with it";
  return required(env, "WAYBILL_KEY_ENCRYPTION_KEY_FILE", why);
}

function checkAddress(flag: string, text: string): string {
  if (/^(\[[0-9a-f:]+\]|[\w.-]+):\d{1,5}$/i.test(text)) return text;
  throw new ConfigError(`${flag} ${text}: expected HOST:PORT`);
}

function readLogLevel(env: Variables): string {
  const level = env["WAYBILL_LOG_LEVEL"] ?? "info";
  if (LOG_LEVELS.includes(level)) return level;
  throw new ConfigError(
    `WAYBILL_LOG_LEVEL=${level}: expected trace, debug, info, warn, error or fatal`,
  );
}

function readOrigins(env: Variables): string[] {
  const text = required(env, "WAYBILL_ORIGINS", "it lists the public addresses of this system");
  return text.split(",").map((each) => {
    const origin = each.trim();
    const url = URL.parse(origin);
    const isOrigin = url !== null && url.origin === origin && /^https?:$/.test(url.protocol);
    if (isOrigin) return origin;
    throw new ConfigError(`WAYBILL_ORIGINS=${text}: expected addresses like https://host:port`);
  });
}

/** Reads the secret that the front proxy sends in a header, which carries visible ASCII only. */
function readFrontProxySecret(file: string | undefined): string | undefined {
  if (!file) return undefined;
  const name = "WAYBILL_FRONT_PROXY_SECRET_FILE";
  const secret = readSecretFile(name, file);
  if (/^[!-~]+$/.test(secret)) return secret;
  throw new ConfigError(`${name}=${file}: expected only visible ASCII characters`);
}

function readCost(text: string | undefined): Argon2Cost {
  if (!text) return DEFAULT_COST;
  try {
    return parseCost(text);
  } catch (error) {
    throw new ConfigError(`WAYBILL_ARGON2=${text}: ${(error as Error).message}`);
  }
}

function parseFlags(argv: string[]) {
  return parseArgs({
    args: argv,
    options: {
      roles: { type: "string" },
      listen: { type: "string", default: "127.0.0.1:0" },
      probe: { type: "string" },
      help: { type: "boolean", short: "h" },
    },
  }).values;
}

/** Parses a comma-separated list of roles; undefined: all. */
export function parseRoles(text: string | undefined): readonly Role[] {
  if (text === undefined) return ROLES;
  const roles = text.split(",").map((role) => role.trim());
  if (roles.every(isRole)) return [...new Set(roles)];
  throw new ConfigError(`--roles ${text}: expected some of ${ROLES.join(", ")}`);
}

export function isRole(text: string): text is Role {
  return ROLES.some((role) => role === text);
}
