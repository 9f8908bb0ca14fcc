import { afterEach, beforeEach, expect, test } from "vitest";
import { KeysServiceService } from "../../proto/gen/waybill/keys/v1/keys.ts";
import { makeCredentials } from "../../test/support/callers/credentials.ts";
import { contract } from "../../test/support/clients.ts";
import { REST_OF_KEYS } from "../../test/support/servers/keysHandlers.ts";
import { Server } from "../server/server.ts";
import { serviceAuthentication } from "./credentials/assertion.ts";
import { RevocationFeed } from "./revocationFeed.ts";

const HOUR_MS = 3_600_000;

let server: Server;
let feed: RevocationFeed;
let now: { wall: number; monotonic: number };
/** The first question has come; it is answered when the test says so. */
let asked: PromiseWithResolvers<void>;
let answer: PromiseWithResolvers<void>;

beforeEach(async () => {
  now = { wall: 1_800_000_000_000, monotonic: 1000 };
  asked = Promise.withResolvers();
  answer = Promise.withResolvers();
  const credentials = await makeCredentials();
  server = new Server({ contract, authenticate: serviceAuthentication(credentials) });
  server.add(KeysServiceService, {
    ...REST_OF_KEYS,
    getRing: REST_OF_KEYS.rotateRing as never,
    watchRing: REST_OF_KEYS.watchRevocations as never,
    async readRevocations({ afterNumber }) {
      asked.resolve();
      await answer.promise;
      return { afterNumber, number: afterNumber, revocations: [] };
    },
  });
  feed = new RevocationFeed({
    target: `127.0.0.1:${await server.listen("127.0.0.1:0")}`,
    service: "session",
    credentials,
    clocks: { wall: () => now.wall, monotonic: () => now.monotonic },
  });
});
afterEach(async () => {
  feed.close();
  await server.drain();
});

test("X4 an answer that comes after the machine has slept is as old as its question", async () => {
  await asked.promise;
  expect(() => feed.revocations.assertFresh()).toThrow("revocations is stale");
  now = { ...now, wall: now.wall + HOUR_MS };
  answer.resolve();
  await feed.ready;
  expect(() => feed.revocations.assertFresh()).toThrow("revocations is stale");
});

test("what is known is fresh when the question was answered", async () => {
  answer.resolve();
  await feed.ready;
  feed.revocations.assertFresh();
});
