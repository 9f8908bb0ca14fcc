import { parseArgs } from "node:util";
import { ConfigError } from "./failure.ts";

export const ROLES = ["keys", "session", "catalog", "checkout"] as const;
export type Role = (typeof ROLES)[number];

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
  readonly catalogAddress: string | undefined;
  readonly keyEncryptionKeyFile: string | undefined;
  readonly databaseUrls: Readonly<Partial<Record<Role, string>>>;
  /** Connections that each role may hold to Postgres. */
  readonly databaseConnections: number;
  /** How long a connection of a client lives, in ms. */
  readonly maxConnectionAgeMs: number;
  /** How long the replica says NOT_SERVING before it closes anything, in ms. */
  readonly drainDelayMs: number;
}

export const USAGE = `Usage: node services/main.ts [--roles ROLE,…] [--listen HOST:PORT] [--probe HOST:PORT]

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
  WAYBILL_DATABASE_URL_CATALOG      … for the role catalog
  WAYBILL_DATABASE_URL_CHECKOUT     … for the role checkout
  WAYBILL_KEY_ENCRYPTION_KEY_FILE   file with 32 bytes in base64url (role keys)
  WAYBILL_KEYS_ADDRESS              gRPC target of the key service; default: this replica
  WAYBILL_CATALOG_ADDRESS           gRPC target of the catalogue; default: this replica
  WAYBILL_DATABASE_CONNECTIONS      connections a role, 1 to 100; default: 5
  WAYBILL_MAX_CONNECTION_AGE_MS     1000 or more; default: 300000
  WAYBILL_DRAIN_DELAY_MS            0 to 60000; default: 0
  WAYBILL_LOG_LEVEL                 trace, debug, info, warn, error or fatal; default: info
`;

/** @throws ConfigError */
export function readConfig(argv: string[], env: NodeJS.ProcessEnv): Config | "help" {
  const flags = parseFlags(argv);
  if (flags.help) return "help";
  const roles = parseRoles(flags.roles);
  const address = (flag: string, text: string): string => {
    if (/^(\[[0-9a-f:]+\]|[\w.-]+):\d{1,5}$/i.test(text)) return text;
    throw new ConfigError(`${flag} ${text}: expected HOST:PORT`);
  };
  const required = (name: string, why: string): string => {
    const value = env[name];
    if (!value) throw new ConfigError(`${name} is not set: ${why}`);
    return value;
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
  for (const role of ["keys", "catalog", "checkout"] as const) {
    if (!has(role)) continue;
    const name = `WAYBILL_DATABASE_URL_${role.toUpperCase()}`;
    databaseUrls[role] = required(name, `the role ${role} keeps its data in Postgres`);
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
      "WAYBILL_CATALOG_ADDRESS is not set: checkout asks the catalogue for prices",
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
      "WAYBILL_CREDENTIALS_DIR",
      "it names the folder of the services' keys",
    ),
    keysAddress,
    catalogAddress,
    keyEncryptionKeyFile: has("keys")
      ? required("WAYBILL_KEY_ENCRYPTION_KEY_FILE", "the role keys wraps its keys with it")
      : undefined,
    databaseUrls: Object.freeze(databaseUrls),
    databaseConnections: whole("WAYBILL_DATABASE_CONNECTIONS", 5, 1, 100),
    maxConnectionAgeMs: whole("WAYBILL_MAX_CONNECTION_AGE_MS", 300_000, 1000, 2 ** 31 - 1),
    drainDelayMs: whole("WAYBILL_DRAIN_DELAY_MS", 0, 0, 60_000),
  });
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
