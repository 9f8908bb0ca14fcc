import { parseArgs } from "node:util";
import { SIGNING_ALGORITHMS, type SigningAlgorithm } from "#shared/auth/tokens/verificationKeys.ts";
import { type Argon2Cost, DEFAULT_COST, parseCost } from "../identity/secretHasher.ts";
import { readChoice, readSecretFile, readVariables, required } from "./environment.ts";
import { ConfigError } from "./failure.ts";

export const ROLES = ["keys", "identity", "token", "session", "catalog", "checkout"] as const;
export type Role = (typeof ROLES)[number];
/** Those that keep keys of their own there, wrapped. */
const WRAPPING_ROLES: readonly Role[] = ["keys", "token"];

/** How one replica runs. Read once, at start. */
export interface Config {
  readonly roles: readonly Role[];
  /** Where it listens: host and port; port 0 takes a free one. */
  readonly listen: string;
  /** Where health checks alone are answered, in plaintext; undefined: nowhere. */
  readonly probe: string | undefined;
  /** Folder of `ca.crt`, `tls.crt`, `tls.key`; undefined: plaintext. */
  readonly tlsDir: string | undefined;
  readonly logLevel: string;
  readonly credentialsDir: string;
  /** gRPC targets; undefined: this replica itself. */
  readonly keysAddress: string | undefined;
  readonly identityAddress: string | undefined;
  readonly tokenAddress: string | undefined;
  readonly catalogAddress: string | undefined;
  readonly sessionAddress: string | undefined;
  readonly keyEncryptionKeyFile: string | undefined;
  /** The addresses that callers know this system by, such as `https://api.example.com`. */
  readonly origins: readonly string[];
  /** `iss` of access tokens. */
  readonly issuer: string;
  /** Secret that identifies the front proxy. Undefined: the replica trusts no forwarding metadata. */
  readonly frontProxySecret: string | undefined;
  /** Past it a replica that has not heard of revocations refuses protected calls. */
  readonly revocationBoundMs: number;
  readonly argon2: Argon2Cost;
  /** Whether anybody may make himself an account. */
  readonly openSignUp: boolean;
  readonly signingAlgorithm: SigningAlgorithm;
  readonly accessTokenLifeS: number;
  /** How long a signing key is published before it signs. */
  readonly keyPublishS: number;
  /** How long a ring's key seals, in seconds. */
  readonly ringRotateS: number;
  readonly ringLeaseS: number;
  /** Longest absolute life of sessions of services outside; those of this program's protos are known. */
  readonly longestSessionS: number;
  /** How many tokens each client is granted a minute. */
  readonly grantsPerMinute: number;
  readonly databaseUrls: Readonly<Partial<Record<Role, string>>>;
  /** Connections that each role may hold to Postgres. */
  readonly databaseConnections: number;
  /** Whether statements are prepared: not behind a pooler in transaction mode. */
  readonly databasePrepare: boolean;
  /** Most memory that kept answers take; 0: none are kept. */
  readonly cacheBytes: number;
  /** How long a connection of a client lives, in ms. */
  readonly maxConnectionAgeMs: number;
  /** How long the replica says NOT_SERVING before it closes anything, in ms. */
  readonly drainDelayMs: number;
}

export const USAGE = `Usage: node services/replica/main.ts [--roles ROLE,…] [--listen HOST:PORT] [--probe HOST:PORT]

Serves one replica of the given roles until SIGTERM, then drains.

  --roles ROLE,…      any of ${ROLES.join(", ")}; default: all
  --listen HOST:PORT  default: 127.0.0.1:0 (a free port, named on stdout)
  --probe HOST:PORT   answers health checks there too, in plaintext: for those who speak no TLS
  --help              this text

Environment:
  WAYBILL_CREDENTIALS_DIR           folder of the services' keys (required)
  WAYBILL_TLS_DIR                   folder with ca.crt, tls.crt, tls.key: callers and callees prove
                                    to be parts of the cluster; default: plaintext
  WAYBILL_DATABASE_URL_KEYS         Postgres address for the role keys
  WAYBILL_DATABASE_URL_IDENTITY     … for the role identity
  WAYBILL_DATABASE_URL_TOKEN        … for the role token
  WAYBILL_DATABASE_URL_SESSION      … for the role session
  WAYBILL_DATABASE_URL_CATALOG      … for the role catalog
  WAYBILL_DATABASE_URL_CHECKOUT     … for the role checkout
  WAYBILL_KEY_ENCRYPTION_KEY_FILE   file with 32 bytes in base64url (roles keys, token). To rotate it,
                                    restart the replicas three times: with the new one on a second
                                    line (it unwraps), with the lines exchanged (it wraps, and what
                                    was wrapped before is wrapped anew within two minutes), and
                                    with the new one alone
  WAYBILL_ORIGINS                   the addresses that callers know this system by, such as
                                    https://api.example.com, with commas between them (required,
                                    but for the role keys)
  WAYBILL_ISSUER                    the issuer of access tokens; default: the first of them
  WAYBILL_FRONT_PROXY_SECRET_FILE    what the front proxy proves to be it with; default: nobody's
                                    forwarding metadata are believed
  WAYBILL_REVOCATION_BOUND_MS       1000 to 300000; default: 30000. A replica that has not heard of
                                    revocations for so long refuses protected calls
  WAYBILL_ACCESS_TOKEN_LIFE_S       10 to 3600; default: 300 (role token)
  WAYBILL_SIGNING_ALGORITHM         EdDSA or ES256; default: EdDSA (role token)
  WAYBILL_KEY_PUBLISH_S             0 to 86400; default: 1200. How long a signing key is published
                                    before it signs: twice the slowest cache (role token)
  WAYBILL_RING_ROTATE_S             60 to 31536000; default: 2592000 (30 days). How long a key of a ring
                                    seals before the next one does (role keys)
  WAYBILL_RING_LEASE_S              5 to 300; default: 30. A replica that has not reached the key service
                                    for so long seals nothing and turns NOT_SERVING; one that was
                                    killed holds rotations up no longer (role keys)
  WAYBILL_LONGEST_SESSION_S         up to 31622400; default: 0. Longest absolute life of a session of
                                    services besides these; keys, revocations and anchors are kept for
                                    so long (every role)
  WAYBILL_GRANTS_PER_MINUTE         1 or more; default: 6000. For each client (role token)
  WAYBILL_SIGN_UP                   open or closed; default: open. Closed: administrators make the
                                    accounts (role identity)
  WAYBILL_ARGON2                    cost of users' secrets; default: m=19456,t=2,p=1 (role identity)
  WAYBILL_KEYS_ADDRESS              gRPC target of the key service; default: this replica
  WAYBILL_IDENTITY_ADDRESS          … of the identity service; default: this replica (role token)
  WAYBILL_TOKEN_ADDRESS             … of the token service; default: this replica; where it does not
                                    serve token, without it no access token is taken
  WAYBILL_CATALOG_ADDRESS           gRPC target of the catalog; default: this replica
  WAYBILL_SESSION_ADDRESS           … of the session service; default: this replica (role checkout)
  WAYBILL_DATABASE_CONNECTIONS      connections a role, 1 to 100; default: 5. At least 2 with the role
                                    keys: one of its connections listens
  WAYBILL_DATABASE_PREPARE          on or off; default: on. Off behind a pooler in transaction mode,
                                    such as PgBouncer; keys needs a direct connection all the same, and
                                    catalog hears of changes up to a second later
  WAYBILL_CACHE_BYTES               0 to 68719476736; default: 16777216 (16 MiB). Most memory that kept
                                    answers take: those of the catalog (role catalog), and those
                                    that checkout had from it (role checkout); half each, where both
                                    roles are served. 0: none are kept
  WAYBILL_MAX_CONNECTION_AGE_MS     1000 or more; default: 300000
  WAYBILL_DRAIN_DELAY_MS            0 to 60000; default: 0
  WAYBILL_LOG_LEVEL                 trace, debug, info, warn, error or fatal; default: info
`;

/** @throws ConfigError */
export function readConfig(argv: string[], environment: NodeJS.ProcessEnv): Config | "help" {
  const flags = parseFlags(argv);
  if (flags.help) return "help";
  const env = readVariables(environment);
  const roles = parseRoles(flags.roles);
  const address = (flag: string, text: string): string => {
    if (/^(\[[0-9a-f:]+\]|[\w.-]+):\d{1,5}$/i.test(text)) return text;
    throw new ConfigError(`${flag} ${text}: expected HOST:PORT`);
  };
  const whole = (name: string, fallback: number, min: number, max: number): number => {
    const value = env[name] === undefined ? fallback : Number(env[name]);
    if (!Number.isInteger(value) || value < min || value > max) {
      throw new ConfigError(`${name}=${env[name]}: expected a whole number from ${min} to ${max}`);
    }
    return value;
  };
  const has = (role: Role) => roles.includes(role);
  const databaseUrls: Partial<Record<Role, string>> = {};
  for (const role of ROLES) {
    if (!has(role)) continue;
    const name = `WAYBILL_DATABASE_URL_${role.toUpperCase()}`;
    databaseUrls[role] = required(env, name, `the role ${role} keeps its data in Postgres`);
  }
  const keysAddress = env["WAYBILL_KEYS_ADDRESS"];
  if (!keysAddress && !has("keys")) {
    throw new ConfigError(
      "WAYBILL_KEYS_ADDRESS is not set: this replica does not serve keys itself",
    );
  }
  const catalogAddress = env["WAYBILL_CATALOG_ADDRESS"];
  if (!catalogAddress && has("checkout") && !has("catalog")) {
    throw new ConfigError(
      "WAYBILL_CATALOG_ADDRESS is not set: checkout asks the catalog for prices",
    );
  }
  const sessionAddress = env["WAYBILL_SESSION_ADDRESS"];
  if (!sessionAddress && has("checkout") && !has("session")) {
    throw new ConfigError(
      "WAYBILL_SESSION_ADDRESS is not set: checkout lists its sessions with the session service",
    );
  }
  const identityAddress = env["WAYBILL_IDENTITY_ADDRESS"];
  if (!identityAddress && has("token") && !has("identity")) {
    throw new ConfigError("WAYBILL_IDENTITY_ADDRESS is not set: token asks identity for accounts");
  }
  const tokenAddress = env["WAYBILL_TOKEN_ADDRESS"];
  if (!tokenAddress && has("identity") && !has("token")) {
    throw new ConfigError("WAYBILL_TOKEN_ADDRESS is not set: identity ends sign-ins there");
  }
  const origins = roles.every((role) => role === "keys")
    ? []
    : readOrigins(required(env, "WAYBILL_ORIGINS", "it names the addresses that callers use"));
  const databaseConnections = whole("WAYBILL_DATABASE_CONNECTIONS", 5, 1, 100);
  if (databaseConnections < 2 && has("keys")) {
    throw new ConfigError(
      "WAYBILL_DATABASE_CONNECTIONS=1: the role keys needs at least 2, of which one listens",
    );
  }
  const logLevel = env["WAYBILL_LOG_LEVEL"] ?? "info";
  if (!["trace", "debug", "info", "warn", "error", "fatal"].includes(logLevel)) {
    throw new ConfigError(
      `WAYBILL_LOG_LEVEL=${logLevel}: expected trace, debug, info, warn, error or fatal`,
    );
  }
  return Object.freeze({
    roles,
    listen: address("--listen", flags.listen ?? "127.0.0.1:0"),
    probe: flags.probe === undefined ? undefined : address("--probe", flags.probe),
    tlsDir: env["WAYBILL_TLS_DIR"],
    logLevel,
    credentialsDir: required(
      env,
      "WAYBILL_CREDENTIALS_DIR",
      "it names the folder of the services' keys",
    ),
    keysAddress,
    identityAddress,
    tokenAddress,
    catalogAddress,
    sessionAddress,
    keyEncryptionKeyFile: roles.some((role) => WRAPPING_ROLES.includes(role))
      ? required(
          env,
          "WAYBILL_KEY_ENCRYPTION_KEY_FILE",
          "the roles keys and token wrap keys with it",
        )
      : undefined,
    origins,
    issuer: env["WAYBILL_ISSUER"] ?? origins[0] ?? "",
    frontProxySecret: readFrontProxySecret(env["WAYBILL_FRONT_PROXY_SECRET_FILE"]),
    revocationBoundMs: whole("WAYBILL_REVOCATION_BOUND_MS", 30_000, 1000, 300_000),
    argon2: readCost(env["WAYBILL_ARGON2"]),
    openSignUp: readChoice(env, "WAYBILL_SIGN_UP", ["open", "closed"]) === "open",
    signingAlgorithm: readChoice(env, "WAYBILL_SIGNING_ALGORITHM", SIGNING_ALGORITHMS),
    accessTokenLifeS: whole("WAYBILL_ACCESS_TOKEN_LIFE_S", 300, 10, 3600),
    keyPublishS: whole("WAYBILL_KEY_PUBLISH_S", 1200, 0, 86_400),
    ringRotateS: whole("WAYBILL_RING_ROTATE_S", 30 * 24 * 60 * 60, 60, 365 * 24 * 60 * 60),
    ringLeaseS: whole("WAYBILL_RING_LEASE_S", 30, 5, 300),
    longestSessionS: whole("WAYBILL_LONGEST_SESSION_S", 0, 0, 366 * 24 * 60 * 60),
    grantsPerMinute: whole("WAYBILL_GRANTS_PER_MINUTE", 6000, 1, 2 ** 31 - 1),
    databaseUrls: Object.freeze(databaseUrls),
    databaseConnections,
    databasePrepare: readChoice(env, "WAYBILL_DATABASE_PREPARE", ["on", "off"]) === "on",
    cacheBytes: whole("WAYBILL_CACHE_BYTES", 16 * 1024 * 1024, 0, 64 * 1024 ** 3),
    maxConnectionAgeMs: whole("WAYBILL_MAX_CONNECTION_AGE_MS", 300_000, 1000, 2 ** 31 - 1),
    drainDelayMs: whole("WAYBILL_DRAIN_DELAY_MS", 0, 0, 60_000),
  });
}

/** @throws ConfigError */
function readOrigins(text: string): string[] {
  return text.split(",").map((each) => {
    const origin = each.trim();
    const url = URL.parse(origin);
    const isOrigin = url !== null && url.origin === origin && /^https?:$/.test(url.protocol);
    if (isOrigin) return origin;
    throw new ConfigError(`WAYBILL_ORIGINS=${text}: expected addresses like https://host:port`);
  });
}

/** Reads the front proxy's secret. The front proxy sends it in a header. @throws ConfigError */
function readFrontProxySecret(file: string | undefined): string | undefined {
  if (!file) return undefined;
  const name = "WAYBILL_FRONT_PROXY_SECRET_FILE";
  const secret = readSecretFile(name, file);
  if (/^[!-~]+$/.test(secret)) return secret;
  throw new ConfigError(`${name}=${file}: expected visible ASCII characters alone`);
}

/** @throws ConfigError */
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
      listen: { type: "string" },
      probe: { type: "string" },
      help: { type: "boolean", short: "h" },
    },
  }).values;
}

function parseRoles(text: string | undefined): readonly Role[] {
  if (text === undefined) return ROLES;
  const roles = text.split(",").map((role) => role.trim());
  for (const role of roles) {
    if (!ROLES.includes(role as Role)) {
      throw new ConfigError(`--roles ${text}: expected some of ${ROLES.join(", ")}`);
    }
  }
  return [...new Set(roles)] as Role[];
}
