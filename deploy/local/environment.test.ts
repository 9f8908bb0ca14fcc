import { expect, test } from "vitest";
import { dropForeignVariables, programEnvironment } from "./environment.ts";

const CALLER = {
  PATH: "/bin",
  HOME: "/home/ada",
  WAYBILL_RING_LEASE_S: "10",
  WAYBILL_KEYS_ADDRESS: "keys.other:1",
  WAYBILL_DATABASE_URL_KEYS: "postgres://other/keys",
  WAYBILL_A_LATER_VARIABLE: "1",
  DATABASE_URL: "postgres://owner@db/shop",
  PGHOST: "other",
  PGOPTIONS: "-c search_path=other",
  PGSSLMODE: "require",
  https_proxy: "http://proxy:1",
  GRPC_TRACE: "all",
};

test("a program gets the listed variables of the caller and those given, which win", () => {
  expect(programEnvironment({}, CALLER)).toEqual({
    PATH: "/bin",
    HOME: "/home/ada",
    WAYBILL_RING_LEASE_S: "10",
  });
  expect(programEnvironment({ WAYBILL_RING_LEASE_S: "5", DATABASE_URL: "own" }, CALLER)).toEqual({
    PATH: "/bin",
    HOME: "/home/ada",
    WAYBILL_RING_LEASE_S: "5",
    DATABASE_URL: "own",
  });
});

test("the runner drops and names the variables that it does not pass on", () => {
  const env: NodeJS.ProcessEnv = { ...CALLER };
  expect(dropForeignVariables(env)).toEqual([
    "PGHOST",
    "PGOPTIONS",
    "PGSSLMODE",
    "WAYBILL_A_LATER_VARIABLE",
    "WAYBILL_DATABASE_URL_KEYS",
    "WAYBILL_KEYS_ADDRESS",
  ]);
  // The runner's own settings stay: its database, and the way to fetch Envoy.
  expect(Object.keys(env).sort()).toEqual(
    ["DATABASE_URL", "GRPC_TRACE", "HOME", "PATH", "WAYBILL_RING_LEASE_S", "https_proxy"].sort(),
  );
});
