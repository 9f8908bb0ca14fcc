import { describe, expect, test } from "vitest";
import { CatalogServiceService } from "../../proto/gen/waybill/catalog/v1/catalog.ts";
import { contract } from "../../test/support/clients.ts";
import { Spills } from "../anchors/spills.ts";
import { Revocations } from "../auth/tokens/revocations.ts";
import { ResponseCache } from "../cache/responseCache.ts";
import { createClient } from "../client/client.ts";
import { createPool, type Pool } from "../pg/pool.ts";
import { Server } from "../server/server.ts";

const URL_OF_NOTHING = "postgres://a@127.0.0.1:1/a";
const pool = (options: object) =>
  createPool(URL_OF_NOTHING, { max: 1, name: "bounds", ...options });

/** Every bound that a program may set, by its name in errors, with a value that is legal. */
const BOUNDS: [string, number, (value: number) => unknown][] = [
  ["Server: maxRequestBytes", 1, (maxRequestBytes) => new Server({ contract, maxRequestBytes })],
  ["Server: maxCalls", 1, (maxCalls) => new Server({ contract, maxCalls })],
  ["Server: maxStreams", 0, (maxStreams) => new Server({ contract, maxStreams })],
  ["Server: maxConnectionAgeMs", 1, (age) => new Server({ contract, maxConnectionAgeMs: age })],
  ["createPool: max", 1, (max) => pool({ max })],
  ["createPool: connectTimeoutMs", 1, (connectTimeoutMs) => pool({ connectTimeoutMs })],
  ["createPool: statementTimeoutMs", 1, (statementTimeoutMs) => pool({ statementTimeoutMs })],
  [
    "createClient: timeoutMs",
    1,
    (timeoutMs) => createClient(CatalogServiceService, "127.0.0.1:1", { timeoutMs }).close(),
  ],
  ["Revocations: boundMs", 1, (boundMs) => new Revocations({ boundMs })],
  ["Revocations: maxEntries", 1, (maxEntries) => new Revocations({ maxEntries })],
  ["Spills: quota", 1, (quota) => new Spills({} as Pool, "a", { quota })],
  ["Spills: cache", 0, (cache) => new Spills({} as Pool, "a", { cache })],
  ["maxBytes", 1, (maxBytes) => new ResponseCache({ maxBytes })],
];

describe.each(BOUNDS)("%s", (name, least, construct) => {
  const values: unknown[] = [Number.NaN, least - 1, -1, 1.5, Number.POSITIVE_INFINITY];
  values.push(2 ** 53, "1000", 1000n, true, [1000], {});

  test.each(values)("refuses %s", (bad) => {
    expect(() => construct(least)).not.toThrow();
    expect(() => construct(bad as number)).toThrow(name);
    expect(() => construct(bad as number)).toThrow("whole number");
  });
});

test("a time that is longer than a timer takes is refused", () => {
  const late = 2 ** 31;
  expect(() => pool({ connectTimeoutMs: late })).toThrow("connectTimeoutMs must be a whole number");
  expect(() => new Server({ contract, maxConnectionAgeMs: late })).toThrow("maxConnectionAgeMs");
});

test.each([undefined, "", "localhost", "host=localhost dbname=a", "mysql://a:secret@h/a", {}])(
  "a pool without an address of Postgres is refused: %s",
  (url) => {
    expect(() => pool({})).not.toThrow();
    const construct = () => createPool(url as string, { max: 1, name: "bounds" });
    expect(construct).toThrow("createPool: url must be an address like postgres://");
    expect(construct).not.toThrow("secret");
  },
);

test.each<[string, object]>([
  ["contract", {}],
  ["contract", { contract: "image.binpb" }],
  ["authenticate", { contract, authenticate: "Bearer" }],
  ["translate", { contract, translate: true }],
])("a server with a bad option is refused: %s", (name, options) => {
  expect(() => new Server({ contract })).not.toThrow();
  expect(() => new Server(options as never)).toThrow(`Server: ${name} must be`);
});
