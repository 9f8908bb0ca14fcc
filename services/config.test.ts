import { expect, test } from "vitest";
import { type Config, readConfig } from "./config.ts";
import { ConfigError } from "./failure.ts";

const ENV = {
  WAYBILL_CREDENTIALS_DIR: "/credentials",
  WAYBILL_DATABASE_URL_KEYS: "postgres://keys",
  WAYBILL_DATABASE_URL_CATALOG: "postgres://catalog",
  WAYBILL_DATABASE_URL_CHECKOUT: "postgres://checkout",
  WAYBILL_KEY_ENCRYPTION_KEY_FILE: "/kek",
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
    roles: ["keys", "session", "catalog", "checkout"],
    listen: "127.0.0.1:0",
    probe: undefined,
    tlsDir: undefined,
    logLevel: "info",
    credentialsDir: "/credentials",
    keysAddress: undefined,
    catalogAddress: undefined,
    keyEncryptionKeyFile: "/kek",
    databaseUrls: {
      keys: "postgres://keys",
      catalog: "postgres://catalog",
      checkout: "postgres://checkout",
    },
    databaseConnections: 5,
    maxConnectionAgeMs: 300_000,
    drainDelayMs: 0,
  });
  expect(Object.isFrozen(readConfig([], ENV))).toBe(true);
  expect(readConfig(["--help"], {})).toBe("help");
});

test("a role needs no more than what it uses", () => {
  const env = { WAYBILL_CREDENTIALS_DIR: "/credentials", WAYBILL_KEYS_ADDRESS: "dns:///keys:1" };
  expect(readConfig(["--roles", "session"], env)).toMatchObject({
    roles: ["session"],
    databaseUrls: {},
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
});

test("what is wrong is named, with what was expected", () => {
  expect(refused(["--roles", "keys,cook"])).toBe(
    "--roles keys,cook: expected some of keys, session, catalog, checkout",
  );
  expect(refused(["--listen", "8080"])).toBe("--listen 8080: expected HOST:PORT");
  expect(refused(["--probe", ":1"])).toBe("--probe :1: expected HOST:PORT");
  expect(() => readConfig(["--colour"], ENV)).toThrow("--colour");
  for (const value of ["1", "100"]) {
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
  expect(refused([], { ...ENV, WAYBILL_LOG_LEVEL: "loud" })).toContain("WAYBILL_LOG_LEVEL=loud");
});
