import { setTimeout as delay } from "node:timers/promises";
import { Redis } from "ioredis";
import { Client } from "pg";
import type { Bench } from "./bench.ts";
import type { Store } from "./contender.ts";
import { startRelay } from "./relay.ts";
import { median } from "./results/figures.ts";

/** Latency to add to a round trip, in ms. */
export const ADDED_MS = 1;
/** Initial delay in each direction; forwarding adds the rest. */
const FIRST_US = 440;
const ASKS = 400;

/** A store with network latency. */
export interface Delayed {
  readonly store: Store;
  /** Measures the added latency of a round trip, in ms. */
  addedMs(): Promise<number>;
}

/** Puts a relay before a store and tunes it to add one millisecond to a round trip. */
export async function delayed(bench: Bench, store: Store): Promise<Delayed> {
  const start = (us: number) =>
    bench.own("a relay", startRelay(store.address, us), (relay) => relay.end());
  const first = await bench.during(async () => addedBy(store, (await start(FIRST_US)).address));
  const us = Math.round(FIRST_US + ((ADDED_MS - first) * 1000) / 2);
  const { address } = await start(us);
  return { store: { ...store, address }, addedMs: () => addedBy(store, address) };
}

/**
 * Measures the latency that a relay adds to an empty request: the difference of medians of alternating
 * requests.
 */
async function addedBy(store: Store, address: string): Promise<number> {
  const [near, far] = [await asker(store, store.address), await asker(store, address)];
  const took = { near: [] as number[], far: [] as number[] };
  for (let count = 0; count < ASKS; count += 1) {
    took.near.push(await timed(near.ask));
    took.far.push(await timed(far.ask));
  }
  await near.close();
  await far.close();
  return median(took.far) - median(took.near);
}

async function timed(ask: () => Promise<unknown>): Promise<number> {
  // One at a time, like calls at low load.
  await delay(1);
  const before = performance.now();
  await ask();
  return performance.now() - before;
}

interface Asker {
  ask(): Promise<unknown>;
  close(): Promise<unknown>;
}

async function asker(store: Store, address: string): Promise<Asker> {
  const { store: url = "" } = store.settings(address);
  if (url.startsWith("redis:")) {
    const redis = new Redis(url);
    return { ask: () => redis.ping(), close: () => redis.quit() };
  }
  const client = new Client({ connectionString: url });
  // An interrupted bench stops Postgres before its connection.
  client.on("error", () => {});
  await client.connect();
  return { ask: () => client.query("SELECT 1"), close: () => client.end() };
}
