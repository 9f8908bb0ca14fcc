import { randomBytes } from "node:crypto";
import type { JWK } from "jose";
import { afterEach, beforeEach, expect, test } from "vitest";
import {
  KeysServiceService,
  type ReleaseLeaseRequest,
  type RenewLeaseRequest,
  RingKey_State,
  type Ring as RingMessage,
} from "../../proto/gen/waybill/keys/v1/keys.ts";
import { contract } from "../../test/fixtures/clients.ts";
import { makeCredentials } from "../../test/fixtures/credentials.ts";
import { REST_OF_KEYS } from "../../test/fixtures/keysHandlers.ts";
import { serviceAuthentication } from "../credentials/assertion.ts";
import { Server } from "../grpc/server.ts";
import { RingWatcher } from "./ringWatcher.ts";
import { sealRing } from "./sealedRing.ts";

const credentials = await makeCredentials();
const ring = (version: number): RingMessage => ({
  audience: "checkout",
  version,
  keys: [
    {
      id: `${version}`.padStart(11, "A"),
      state: RingKey_State.STATE_ACTIVE,
      key: randomBytes(32),
      createTime: undefined,
    },
  ],
});

let server: Server;
let watcher: RingWatcher;
/** The ring, as the key service has it. */
let newest: RingMessage;
let push: () => void;
let isWatched: boolean;
/** What was asked for, and what each renewal waits for before it is answered. */
let renewals: RenewLeaseRequest[];
let released: ReleaseLeaseRequest[];
let gate: Promise<unknown> | undefined;
let isRefusing: boolean;
/** What the watcher has heard of its lease. */
let heard: boolean[];
let now: { wall: number; monotonic: number };
/** Ends what the watcher waits for before it renews. */
let waits: (() => void)[];

beforeEach(async () => {
  newest = ring(1);
  push = () => {};
  isWatched = false;
  renewals = [];
  released = [];
  heard = [];
  waits = [];
  gate = undefined;
  isRefusing = false;
  now = { wall: 1e12, monotonic: 0 };
  server = new Server({ contract, authenticate: serviceAuthentication(credentials) });
  server.add(KeysServiceService, {
    ...REST_OF_KEYS,
    getRing: REST_OF_KEYS.rotateRing as never,
    async *watchRing(_request, { caller, signal }) {
      signal.addEventListener("abort", () => push(), { once: true });
      while (!signal.aborted) {
        await new Promise<void>((resolve) => {
          push = resolve;
          isWatched = true;
        });
        if (signal.aborted) return;
        yield {
          ring: await sealRing(newest, caller.service!, caller.oneTimeKey as JWK, credentials),
        };
      }
    },
    async renewLease(request, { caller }) {
      renewals.push(request);
      const granted = newest;
      await gate;
      if (isRefusing) throw new Error("away");
      return {
        ring: await sealRing(granted, caller.service!, caller.oneTimeKey as JWK, credentials),
        duration: { seconds: 30n, nanos: 0 },
        sealsRevision: 1,
      };
    },
    async releaseLease(request) {
      released.push(request);
      return {};
    },
  });
  const target = `127.0.0.1:${await server.listen("127.0.0.1:0")}`;
  watcher = new RingWatcher({
    target,
    service: "checkout",
    audience: "checkout",
    credentials,
    lease: { holder: "host/1/a", reads: 3, changed: (isLeased) => heard.push(isLeased) },
    clocks: { wall: () => now.wall, monotonic: () => now.monotonic },
    wait: (_ms, signal) =>
      new Promise<void>((resolve, reject) => {
        waits.push(resolve);
        signal.addEventListener("abort", () => reject(signal.reason as Error), { once: true });
      }),
  });
});
afterEach(async () => {
  await watcher.close();
  await server.drain();
});

const passes = (ms: number) => {
  now = { wall: now.wall + ms, monotonic: now.monotonic + ms };
};
const until = async (holds: () => boolean) => {
  while (!holds()) await new Promise(setImmediate);
};

test("who holds a lease seals, until it has run out; what it reads is told", async () => {
  expect(watcher.sealing()).toBeUndefined();
  await watcher.ready;
  expect(renewals).toMatchObject([{ acknowledgedVersion: 0, readsRevision: 3 }]);
  expect(heard).toEqual([true]);
  passes(29_999);
  expect(watcher.sealing()?.key.id).toBe("AAAAAAAAAA1");
  passes(1);
  expect(watcher.sealing()).toBeUndefined();
  // It still opens.
  expect(watcher.current()?.version).toBe(1);
});

test("a lease counts from when it was asked for, not from when it came", async () => {
  const { promise, resolve } = Promise.withResolvers<void>();
  await watcher.ready;
  gate = promise;
  await until(() => waits.length > 0);
  for (const end of waits.splice(0)) end();
  await until(() => renewals.length === 2);
  passes(25_000);
  resolve();
  await until(() => waits.length > 0);
  passes(4999);
  expect(watcher.sealing()).toBeDefined();
  passes(1);
  expect(watcher.sealing()).toBeUndefined();
});

test("a machine that has slept holds nothing when it wakes: the wall clock counts, too", async () => {
  await watcher.ready;
  now = { ...now, wall: now.wall + 30_000 };
  expect(watcher.sealing()).toBeUndefined();
});

test("a ring that is new is acknowledged at once", async () => {
  await watcher.ready;
  await until(() => waits.length > 0 && isWatched);
  waits = [];
  newest = ring(2);
  push();
  await until(() => renewals.length === 2);
  expect(renewals[1]).toMatchObject({ acknowledgedVersion: 2, holder: "host/1/a" });
  // One that a renewal brings along, too.
  newest = ring(3);
  await until(() => waits.length > 0);
  for (const end of waits.splice(0)) end();
  await until(() => renewals.length === 4);
  expect(renewals[3]).toMatchObject({ acknowledgedVersion: 3 });
});

test("a renewal that fails is tried again, and the lease is there again after it had run out", async () => {
  await watcher.ready;
  isRefusing = true;
  await until(() => waits.length > 0);
  for (const end of waits.splice(0)) end();
  await until(() => renewals.length === 2);
  passes(30_000);
  expect(watcher.sealing()).toBeUndefined();
  isRefusing = false;
  while (watcher.sealing() === undefined) {
    for (const end of waits.splice(0)) end();
    await new Promise(setImmediate);
  }
});

test("a watcher that is closed seals nothing, and gives its lease back", async () => {
  await watcher.ready;
  await watcher.close();
  expect(watcher.sealing()).toBeUndefined();
  expect(released).toMatchObject([{ audience: "checkout", holder: "host/1/a" }]);
});
