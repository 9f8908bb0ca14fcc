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
import { makeCredentials } from "../../test/support/callers/credentials.ts";
import { contract } from "../../test/support/clients.ts";
import { REST_OF_KEYS } from "../../test/support/servers/keysHandlers.ts";
import { waitFor } from "../../test/support/waitFor.ts";
import { serviceAuthentication } from "../auth/credentials/assertion.ts";
import { Server } from "../server/server.ts";
import { RingWatcher } from "./ringWatcher.ts";
import { sealRing } from "./sealedRing.ts";

const credentials = await makeCredentials();
const ring = (version: number): RingMessage => ({
  audience: "checkout",
  version,
  keys: [
    {
      id: `${`${version}`.padStart(10, "A")}A`,
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
/** Requests, and the gate of each renewal. */
let renewals: RenewLeaseRequest[];
let released: ReleaseLeaseRequest[];
let gate: Promise<unknown> | undefined;
/** Steps of the key service, in order. */
let done: string[];
let target: string;
let isRefusing: boolean;
let fetches: number;
/** Lease events that the watcher received. */
let heard: boolean[];
let now: { wall: number; monotonic: number };
/** Ends the watcher's wait before a renewal. */
let waits: (() => void)[];

beforeEach(async () => {
  newest = ring(1);
  push = () => {};
  isWatched = false;
  renewals = [];
  released = [];
  done = [];
  fetches = 0;
  heard = [];
  waits = [];
  gate = undefined;
  isRefusing = false;
  now = { wall: 1e12, monotonic: 0 };
  server = new Server({ contract, authenticate: serviceAuthentication(credentials) });
  server.add(KeysServiceService, {
    ...REST_OF_KEYS,
    async getRing(_request, { caller }) {
      fetches += 1;
      if (isRefusing) throw new Error("away");
      return sealRing(newest, caller.service!, caller.oneTimeKey as JWK, credentials);
    },
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
      done.push("renewed");
      return {
        ring: await sealRing(granted, caller.service!, caller.oneTimeKey as JWK, credentials),
        duration: { seconds: 30n, nanos: 0 },
        sealsRevision: 1,
      };
    },
    async releaseLease(request) {
      released.push(request);
      done.push("released");
      return {};
    },
  });
  target = `127.0.0.1:${await server.listen("127.0.0.1:0")}`;
  watcher = watch("host/1/a");
});
afterEach(async () => {
  await watcher.close();
  await server.drain();
});

function watch(holder: string, release?: () => Promise<unknown>): RingWatcher {
  return new RingWatcher({
    target,
    service: "checkout",
    audience: "checkout",
    credentials,
    lease: { holder, reads: 3, release, changed: (isLeased) => heard.push(isLeased) },
    clocks: { wall: () => now.wall, monotonic: () => now.monotonic },
    wait: (_ms, signal) =>
      new Promise<void>((resolve, reject) => {
        signal.throwIfAborted();
        waits.push(resolve);
        signal.addEventListener("abort", () => reject(signal.reason as Error), { once: true });
      }),
  });
}

const passes = (ms: number) => {
  now = { wall: now.wall + ms, monotonic: now.monotonic + ms };
};
const until = (holds: () => boolean) => waitFor(`${holds}`, holds);

test("who holds a lease seals, until it has run out; what it reads is told", async () => {
  expect(watcher.sealing()).toBeUndefined();
  await watcher.ready;
  expect(renewals).toMatchObject([{ acknowledgedVersion: 0, readsRevision: 3 }]);
  expect(heard).toEqual([true]);
  passes(29_999);
  expect(watcher.sealing()?.key.id).toBe("AAAAAAAAA1A");
  expect(watcher.current()?.version).toBe(1);
  passes(1);
  expect(watcher.sealing()).toBeUndefined();
});

test("past its lease it opens by what the key service answers, and by nothing that it had", async () => {
  const unavailable = expect.objectContaining({ reason: "KEYS_UNAVAILABLE" });
  await watcher.ready;
  passes(30_000);
  // Its key may have been destroyed meanwhile.
  expect(watcher.current()).toBeUndefined();
  isRefusing = true;
  await expect(watcher.refresh()).rejects.toThrow(unavailable);
  isRefusing = false;
  newest = ring(2);
  const asked = watcher.refresh();
  await until(() => {
    for (const end of waits.splice(0)) end();
    return fetches >= 2;
  });
  expect((await asked).version).toBe(2);
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
  await until(() => {
    for (const end of waits.splice(0)) end();
    return watcher.sealing() !== undefined;
  });
});

test("a watcher that is closed seals nothing, and gives its lease back", async () => {
  await watcher.ready;
  await watcher.close();
  expect(watcher.sealing()).toBeUndefined();
  expect(released).toMatchObject([{ audience: "checkout", holder: "host/1/a" }]);
});

/** A renewal is under way, and is answered when the gate is opened. */
async function renewing(): Promise<() => void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const before = renewals.length;
  gate = promise;
  await until(() => {
    for (const end of waits.splice(0)) end();
    return renewals.length > before;
  });
  return resolve;
}

test("a renewal that is answered when the watcher is closed does not revive it, and is given back", async () => {
  await watcher.close();
  watcher = watch("host/1/b", async () => done.push("given back"));
  await watcher.ready;
  const open = await renewing();
  const before = done.length;
  const closed = watcher.close();
  expect(watcher.sealing()).toBeUndefined();
  // Given back before the renewal arrives, the lease would be there again.
  expect(done.slice(before)).toEqual([]);
  open();
  await closed;
  expect(watcher.sealing()).toBeUndefined();
  expect(watcher.current()).toBeUndefined();
  expect(done.slice(before)).toEqual(["renewed", "given back"]);
});

test("a watcher that is closed while it asks for its first lease gives it back, too", async () => {
  await watcher.close();
  const before = done.length;
  watcher = watch("host/1/b");
  const open = await renewing();
  const closed = watcher.close();
  open();
  await closed;
  expect(watcher.sealing()).toBeUndefined();
  expect(done.slice(before)).toEqual(["renewed", "released"]);
  expect(released.at(-1)?.holder).toBe("host/1/b");
});
