import { expect, test } from "vitest";
import { type Config, readConfig } from "./config.ts";
import { ConfigError } from "./failure.ts";

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

/** Reads a config that is none. */
function refused(argv: string[], env: NodeJS.ProcessEnv = ENV): string {
  try {
    readConfig(argv, env);
  } catch (error) {
    expect(error).toBeInstanceOf(ConfigError);
    return (error as Error).message;
  }
  throw new Error("it was to be refused");
}

test("with the least that it needs it has every role, and its defaults", () => {
  expect(readConfig([], ENV)).toEqual({
    roles: ["keys", "identity", "token", "session", "catalog", "checkout"],
    listen: "127.0.0.1:0",
    probe: undefined,
    tlsDir: undefined,
    logLevel: "info",
    credentialsDir: "/credentials",
    keysAddress: undefined,
    identityAddress: undefined,
    tokenAddress: undefined,
    catalogAddress: undefined,
    sessionAddress: undefined,
    keyEncryptionKeyFile: "/kek",
    origins: ["https://a.example", "http://b.example:8080"],
    issuer: "https://a.example",
    frontProxySecret: undefined,
    revocationBoundMs: 30_000,
    argon2: { memoryKib: 19_456, passes: 2, lanes: 1 },
    openSignUp: true,
    signingAlgorithm: "EdDSA",
    accessTokenLifeS: 300,
    keyPublishS: 1200,
    ringRotateS: 2_592_000,
    ringLeaseS: 30,
    longestSessionS: 0,
    grantsPerMinute: 6000,
    databaseUrls: {
      keys: "postgres://keys",
      identity: "postgres://identity",
      token: "postgres://token",
      session: "postgres://session",
      catalog: "postgres://catalog",
      checkout: "postgres://checkout",
    },
    databaseConnections: 5,
    databasePrepare: true,
    cacheBytes: 16_777_216,
    maxConnectionAgeMs: 300_000,
    drainDelayMs: 0,
  });
  expect(Object.isFrozen(readConfig([], ENV))).toBe(true);
  expect(readConfig(["--help"], {})).toBe("help");
});

test("a role needs no more than what it uses", () => {
  const env = {
    WAYBILL_CREDENTIALS_DIR: "/credentials",
    WAYBILL_KEYS_ADDRESS: "dns:///keys:1",
    WAYBILL_ORIGINS: "https://a.example",
    WAYBILL_DATABASE_URL_SESSION: "postgres://session",
  };
  expect(readConfig(["--roles", "session"], env)).toMatchObject({
    roles: ["session"],
    databaseUrls: { session: "postgres://session" },
    keyEncryptionKeyFile: undefined,
  });
});

test("what is missing is named, with the reason why it is needed", () => {
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

test("one connection is enough, but for the role keys: it listens on one", () => {
  const one = { ...ENV, WAYBILL_DATABASE_CONNECTIONS: "1", WAYBILL_KEYS_ADDRESS: "dns:///keys:1" };
  expect(readConfig(["--roles", "session"], one)).toMatchObject({ databaseConnections: 1 });
  for (const roles of ["keys", "keys,session"]) {
    expect(refused(["--roles", roles], one)).toBe(
      "WAYBILL_DATABASE_CONNECTIONS=1: the role keys needs at least 2, of which one listens",
    );
  }
});

test("what is wrong is named, with what was expected", () => {
  expect(refused(["--roles", "keys,cook"])).toBe(
    "--roles keys,cook: expected some of keys, identity, token, session, catalog, checkout",
  );
  expect(refused(["--listen", "8080"])).toBe("--listen 8080: expected HOST:PORT");
  expect(refused(["--probe", ":1"])).toBe("--probe :1: expected HOST:PORT");
  expect(() => readConfig(["--colour"], ENV)).toThrow("--colour");
  for (const value of ["2", "100"]) {
    const { databaseConnections } = readConfig([], {
      ...ENV,
      WAYBILL_DATABASE_CONNECTIONS: value,
    }) as Config;
    expect(databaseConnections).toBe(Number(value));
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
