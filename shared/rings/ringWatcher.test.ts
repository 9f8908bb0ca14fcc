import { randomBytes } from "node:crypto";
import type { JWK } from "jose";
import { afterEach, beforeEach, expect, test } from "vitest";
import {
  KeysServiceService,
  RingKey_State,
  type Ring as RingMessage,
} from "../../proto/gen/waybill/keys/v1/keys.ts";
import { makeCredentials } from "../../test/support/callers/credentials.ts";
import { contract } from "../../test/support/clients.ts";
import { REST_OF_KEYS } from "../../test/support/servers/keysHandlers.ts";
import { waitFor } from "../../test/support/waitFor.ts";
import { serviceAuthentication } from "../auth/credentials/assertion.ts";
import { createClient } from "../client/client.ts";
import type { Context } from "../contract/handlers.ts";
import { Server } from "../server/server.ts";
import { RingWatcher } from "./ringWatcher.ts";
import { sealRing } from "./sealedRing.ts";

const credentials = await makeCredentials();
const key = { id: "AAAAAAAAAAA", state: RingKey_State.STATE_ACTIVE, key: randomBytes(32) };
const ring = (version: number, audience = "checkout"): RingMessage => ({
  audience,
  version,
  keys: [{ ...key, createTime: undefined }],
});

/** A key service that the test controls. */
let server: Server;
let target: string;
let watcher: RingWatcher;
/** Messages on the open stream, in order; `undefined` ends it. */
let sent: (RingMessage | undefined)[];
let wake = () => {};
let streams = 0;
/** The response to a fetch, and the number of fetches. */
let fetched: () => Promise<RingMessage>;
let fetches = 0;
const refused = (reason: string) => expect.objectContaining({ reason });

function seal(message: RingMessage, { caller }: Context) {
  return sealRing(message, caller.service!, caller.oneTimeKey as JWK, credentials);
}

function send(...rings: (RingMessage | undefined)[]): void {
  sent.push(...rings);
  wake();
}

async function serve(address = "127.0.0.1:0"): Promise<void> {
  server = new Server({ contract, authenticate: serviceAuthentication(credentials) });
  server.add(KeysServiceService, {
    getRing: async (_request, context) => {
      fetches += 1;
      return seal(await fetched(), context);
    },
    async *watchRing(_request, context) {
      streams += 1;
      context.signal.addEventListener("abort", () => wake(), { once: true });
      while (!context.signal.aborted) {
        if (sent.length === 0) {
          await new Promise<void>((resolve) => {
            wake = resolve;
          });
          continue;
        }
        const next = sent.shift();
        if (next === undefined) return;
        yield { ring: await seal(next, context) };
      }
    },
    ...REST_OF_KEYS,
  });
  target = `127.0.0.1:${await server.listen(address)}`;
}

/** Waits of the watcher, in ms; the test ends them. */
let waits: number[];
let endWait = () => {};

function watch(): RingWatcher {
  const wait = (ms: number, signal: AbortSignal) => {
    waits.push(ms);
    return new Promise<void>((resolve, reject) => {
      endWait = resolve;
      signal.addEventListener("abort", () => reject(signal.reason as Error), { once: true });
    });
  };
  const service = "checkout";
  return new RingWatcher({ target, service, audience: service, credentials, wait });
}

/** Another call to the same server, there and back. */
async function oneTurn(): Promise<void> {
  const other = createClient(KeysServiceService, target);
  await other.rotateRing({ destroyKeyId: "", audience: "checkout" }).catch(() => {});
  other.close();
}

/** Settles when the watcher waits to open its stream again, and lets it. */
async function reopen(): Promise<void> {
  await waitFor("the watcher to wait", () => waits.length > 0);
  waits = [];
  endWait();
}

/** Settles when the watcher has this version. */
async function untilVersion(version: number): Promise<void> {
  await waitFor(`version ${version}`, () => watcher.current()?.version === version);
}

beforeEach(async () => {
  sent = [];
  waits = [];
  streams = 0;
  fetches = 0;
  fetched = async () => ring(1);
  await serve();
  watcher = watch();
});
afterEach(async () => {
  await watcher.close();
  await server.drain();
});

test("it is ready with its first ring, and follows the newer ones", async () => {
  expect(watcher.current()).toBeUndefined();
  send(ring(1));
  await watcher.ready;
  expect(watcher.current()).toEqual({
    audience: "checkout",
    version: 1,
    keys: [{ id: key.id, state: "active", key: key.key }],
  });
  send(ring(2), ring(4));
  await untilVersion(4);
});

test("an older ring takes nothing back, from the stream or from a fetch", async () => {
  send(ring(5), ring(3), ring(6));
  await untilVersion(6);
  const held = watcher.current();
  fetched = async () => ring(4);
  expect(await watcher.refresh()).toBe(held);
  expect(watcher.current()).toBe(held);
});

test("a ring of another audience is not taken, from the stream or from a fetch", async () => {
  send(ring(1));
  await watcher.ready;
  fetched = async () => ring(9, "session");
  await expect(watcher.refresh()).rejects.toThrow(refused("KEYS_UNAVAILABLE"));
  send(ring(9, "session"));
  // Nothing more is believed of a stream that sent such a thing.
  await reopen();
  await waitFor("a second stream", () => streams >= 2);
  send(ring(2));
  await untilVersion(2);
  expect(watcher.current()?.audience).toBe("checkout");
});

test.each<[string, Partial<RingMessage>]>([
  ["an empty key", { keys: [{ ...key, key: Buffer.alloc(0), createTime: undefined }] }],
  ["a key of zeros", { keys: [{ ...key, key: Buffer.alloc(32), createTime: undefined }] }],
  ["a key of 16 bytes", { keys: [{ ...key, key: randomBytes(16), createTime: undefined }] }],
  ["an id twice", { keys: [...ring(1).keys, ...ring(1).keys] }],
  ["an id that is none", { keys: [{ ...key, id: "k1", createTime: undefined }] }],
  ["no key", { keys: [] }],
])("K9 a received ring with %s is refused, and the last one stays", async (_name, change) => {
  send(ring(1));
  await watcher.ready;
  const held = watcher.current();
  fetched = async () => ({ ...ring(9), ...change });
  await expect(watcher.refresh()).rejects.toThrow(refused("KEYS_UNAVAILABLE"));
  send({ ...ring(9), ...change });
  await reopen();
  expect(watcher.current()).toBe(held);
  await waitFor("a second stream", () => streams >= 2);
  send(ring(2));
  await untilVersion(2);
});

test("a stream that ends is opened again, and the last ring stays good meanwhile", async () => {
  send(ring(1), undefined);
  await watcher.ready;
  await reopen();
  expect(watcher.current()?.version).toBe(1);
  send(ring(2));
  await untilVersion(2);
  expect(streams).toBe(2);
});

test("all who ask at once wait for one fetch; the next fetch is not before its second", async () => {
  const gate = Promise.withResolvers<RingMessage>();
  fetched = () => gate.promise;
  const asked = Array.from({ length: 50 }, () => watcher.refresh());
  gate.resolve(ring(7));
  for (const answer of await Promise.all(asked)) expect(answer.version).toBe(7);
  expect(fetches).toBe(1);

  // Anonymous callers can name unknown keys: each would cause a fetch.
  const again = [watcher.refresh(), watcher.refresh()];
  expect(waits).toEqual([expect.any(Number)]);
  await oneTurn();
  expect(fetches).toBe(1);
  endWait();
  await Promise.all(again);
  expect(fetches).toBe(2);
});

test("a hundred may wait for a fetch, one more is refused at once", async () => {
  const gate = Promise.withResolvers<RingMessage>();
  fetched = () => gate.promise;
  const asked = Array.from({ length: 100 }, () => watcher.refresh());
  await expect(watcher.refresh()).rejects.toThrow(refused("KEYS_UNAVAILABLE"));
  gate.resolve(ring(1));
  expect(await Promise.all(asked)).toHaveLength(100);
  // There is room again.
  const again = watcher.refresh();
  endWait();
  expect((await again).version).toBe(1);
});

test("when the key service is away a fetch is refused, and what is held stays", async () => {
  send(ring(1));
  await watcher.ready;
  await server.drain();
  await expect(watcher.refresh()).rejects.toThrow(refused("KEYS_UNAVAILABLE"));
  expect(watcher.current()?.version).toBe(1);
  await serve(target);
  send(ring(2));
  await waitFor("version 2", () => {
    endWait();
    return watcher.current()?.version === 2;
  });
});
