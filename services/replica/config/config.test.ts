import { expect, test } from "vitest";
import { ConfigError } from "../failure.ts";
import { type Config, type Role, readConfig } from "./config.ts";

const ENV = {
  WAYBILL_CREDENTIALS_DIR: "/credentials",
  WAYBILL_DATABASE_URL_KEYS: "postgres://keys",
  WAYBILL_DATABASE_URL_IDENTITY: "postgres://identity",
  WAYBILL_DATABASE_URL_TOKEN: "postgres://token",
  WAYBILL_DATABASE_URL_SESSION: "postgres://session",
  WAYBILL_DATABASE_URL_CATALOG: "postgres://catalog",
  WAYBILL_DATABASE_URL_CHECKOUT: "postgres://checkout",
  WAYBILL_KEY_ENCRYPTION_KEY_FILE: "/kek",
  WAYBILL_ORIGINS: "https://a.example, http://b.example:8080",
};

/** Reads a bad config. @returns its error */
function refused(argv: string[], env: NodeJS.ProcessEnv = ENV): string {
  try {
    readConfig(argv, env);
  } catch (error) {
    expect(error).toBeInstanceOf(ConfigError);
    return (error as Error).message;
  }
  throw new Error("expected a ConfigError");
}

function read(roles: readonly Role[], env: NodeJS.ProcessEnv = ENV): Config {
  return readConfig(["--roles", roles.join(",")], env) as Config;
}

/** A role's settings, with the defaults of every role's. */
function database(role: Role, connections = 5) {
  return { url: `postgres://${role}`, connections, prepare: true };
}

test("defaults to every role, and to the settings of each", () => {
  expect(readConfig([], ENV)).toEqual({
    roles: ["keys", "identity", "token", "session", "catalog", "checkout"],
    listen: "127.0.0.1:0",
    probe: undefined,
    tlsDir: undefined,
    logLevel: "info",
    credentialsDir: "/credentials",
    keysAddress: undefined,
    tokenAddress: undefined,
    origins: ["https://a.example", "http://b.example:8080"],
    issuer: "https://a.example",
    frontProxySecret: undefined,
    revocationBoundMs: 30_000,
    accessTokenLifeS: 300,
    longestSessionS: 0,
    maxConnectionAgeMs: 300_000,
    drainDelayMs: 0,
    keys: {
      database: database("keys"),
      keyEncryptionKeyFile: "/kek",
      ringRotateS: 2_592_000,
      ringLeaseS: 30,
    },
    identity: {
      database: database("identity"),
      argon2: { memoryKib: 19_456, passes: 2, lanes: 1 },
      openSignUp: true,
    },
    token: {
      database: database("token"),
      keyEncryptionKeyFile: "/kek",
      identityAddress: undefined,
      signingAlgorithm: "EdDSA",
      keyPublishS: 1200,
      grantsPerMinute: 6000,
    },
    session: { database: database("session") },
    catalog: { database: database("catalog"), cacheBytes: 8_388_608 },
    checkout: {
      database: database("checkout"),
      cacheBytes: 8_388_608,
      catalogAddress: undefined,
      sessionAddress: undefined,
      identityAddress: undefined,
    },
  });
  const config = read(["keys"]);
  expect([config, config.keys, config.keys?.database].every(Object.isFrozen)).toBe(true);
  expect(readConfig(["--help"], {})).toBe("help");
});

test("a role requires only the variables that it reads", () => {
  const env = {
    WAYBILL_CREDENTIALS_DIR: "/credentials",
    WAYBILL_KEYS_ADDRESS: "dns:///keys:1",
    WAYBILL_ORIGINS: "https://a.example",
    WAYBILL_DATABASE_URL_SESSION: "postgres://session",
  };
  expect(read(["session"], env)).toMatchObject({
    roles: ["session"],
    session: { database: database("session") },
    keys: undefined,
    identity: undefined,
    token: undefined,
    catalog: undefined,
    checkout: undefined,
  });
});

test("reserves the keys' connections for direct use", () => {
  const env = { ...ENV, WAYBILL_DATABASE_PREPARE: "off" };
  const { keys, session } = read(["keys", "session"], env);
  expect([keys?.database.prepare, session?.database.prepare]).toEqual([true, false]);
});

test.each<[Role[], number | undefined, number | undefined]>([
  [["keys", "identity", "catalog", "checkout", "token", "session"], 50_000, 50_000],
  [["keys", "identity", "catalog", "token"], 100_000, undefined],
  [["keys", "catalog", "session", "checkout"], 50_000, 50_000],
])("of %s, catalog caches %s and checkout %s bytes", (roles, catalog, checkout) => {
  const config = read(roles, { ...ENV, WAYBILL_CACHE_BYTES: "100000" });
  expect(config.catalog?.cacheBytes).toBe(catalog);
  expect(config.checkout?.cacheBytes).toBe(checkout);
});

test("gives checkout the whole cache of a replica without catalog", () => {
  const env = { ...ENV, WAYBILL_CACHE_BYTES: "100000", WAYBILL_CATALOG_ADDRESS: "catalog:1" };
  expect(read(["keys", "session", "checkout"], env).checkout?.cacheBytes).toBe(100_000);
});

test("names a missing variable, and why it is required", () => {
  for (const name of Object.keys(ENV)) {
    expect(refused([], { ...ENV, [name]: undefined })).toMatch(
      new RegExp(`^${name} is not set: .`),
    );
  }
  expect(refused(["--roles", "session"])).toMatch(/^WAYBILL_KEYS_ADDRESS is not set/);
  expect(refused(["--roles", "keys,checkout"])).toMatch(/^WAYBILL_CATALOG_ADDRESS is not set/);
  expect(refused(["--roles", "keys,token"])).toMatch(/^WAYBILL_IDENTITY_ADDRESS is not set/);
  expect(refused(["--roles", "keys,identity"])).toMatch(/^WAYBILL_TOKEN_ADDRESS is not set/);
});

test("only the role keys needs a second connection", () => {
  const one = { ...ENV, WAYBILL_DATABASE_CONNECTIONS: "1", WAYBILL_KEYS_ADDRESS: "dns:///keys:1" };
  expect(read(["session"], one).session?.database).toEqual(database("session", 1));
  for (const roles of ["keys", "keys,session"]) {
    expect(refused(["--roles", roles], one)).toBe(
      "WAYBILL_DATABASE_CONNECTIONS=1: the role keys needs at least 2, because one listens",
    );
  }
});

test("names a bad flag or variable, and the expected value", () => {
  expect(refused(["--roles", "keys,cook"])).toBe(
    "--roles keys,cook: expected some of keys, identity, token, session, catalog, checkout",
  );
  expect(refused(["--listen", "8080"])).toBe("--listen 8080: expected HOST:PORT");
  expect(refused(["--probe", ":1"])).toBe("--probe :1: expected HOST:PORT");
  expect(() => readConfig(["--colour"], ENV)).toThrow("--colour");
  for (const value of ["2", "100"]) {
    const { token } = read(["keys", "identity", "token"], {
      ...ENV,
      WAYBILL_DATABASE_CONNECTIONS: value,
    });
    expect(token?.database.connections).toBe(Number(value));
  }
  for (const value of ["0", "101", "1.5", "many"]) {
    expect(refused([], { ...ENV, WAYBILL_DATABASE_CONNECTIONS: value })).toBe(
      `WAYBILL_DATABASE_CONNECTIONS=${value}: expected a whole number from 1 to 100`,
    );
  }
  for (const [name, value] of [
    ["WAYBILL_ORIGINS", "a.example"],
    ["WAYBILL_ORIGINS", "https://a.example/"],
    ["WAYBILL_ORIGINS", "ftp://a.example"],
    ["WAYBILL_ARGON2", "m=1,t=1,p=1"],
    ["WAYBILL_ARGON2", "cheap"],
    ["WAYBILL_SIGNING_ALGORITHM", "none"],
    ["WAYBILL_SIGNING_ALGORITHM", "HS256"],
    ["WAYBILL_SIGN_UP", "perhaps"],
    ["WAYBILL_FRONT_PROXY_SECRET_FILE", "/nowhere"],
    ["WAYBILL_ACCESS_TOKEN_LIFE_S", "9"],
    ["WAYBILL_CACHE_BYTES", "-1"],
  ] as const) {
    expect(refused([], { ...ENV, [name]: value })).toContain(`${name}=${value}: `);
  }
  expect(refused([], { ...ENV, WAYBILL_LOG_LEVEL: "loud" })).toContain("WAYBILL_LOG_LEVEL=loud");
});
