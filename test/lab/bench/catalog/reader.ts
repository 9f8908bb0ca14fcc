/**
 * Reads the catalog through the SDK's client, with or without a cache and with a fixed number of reads in
 * flight. Reports to its parent process and exits with it.
 *
 * Usage: forked, with ADDRESS CREDENTIALS_DIR and `cache` or `none`
 */

import { Metadata } from "@grpc/grpc-js";
import type { CallSettings } from "waybill/client";
import { CatalogServiceService } from "#proto/waybill/catalog/v1/catalog.ts";
import { cachedClient, plainClient } from "./clients.ts";
import type { Prepare, ReaderResult } from "./startReader.ts";

const IN_FLIGHT = 32;
const WARM_UP_CALLS = 1500;

const [address, credentialsDir, kind] = process.argv.slice(2) as [string, string, string];

type Read = (settings?: CallSettings) => Promise<unknown>;

let client: ReturnType<typeof cachedClient> | ReturnType<typeof plainClient> | undefined;
let reads: Read[] = [];

async function prepare({ hot, calls }: Prepare): Promise<string> {
  client?.close();
  if (kind === "cache") {
    const cached = cachedClient(address, credentialsDir);
    client = cached;
    await cached.hears(1n);
  } else client = plainClient(address);
  const often = hot.map(readOf);
  reads = calls.map(readOf);
  // Emptied first, so that no entry expires during the run.
  const metadata = new Metadata();
  metadata.set("cache-control", "no-cache");
  await inTurn(often, (read) => read({ metadata }));
  const warm = Array.from({ length: Math.min(WARM_UP_CALLS, calls.length) }, (_, at) => {
    return often[at % often.length]!;
  });
  await inTurn(warm, (read) => read());
  return "ready";
}

async function run(): Promise<ReaderResult> {
  const before = client!.stats();
  const latencies: number[] = [];
  let aged = 0;
  const onMetadata = (reply: Metadata) => {
    if (reply.get("age").length > 0) aged += 1;
  };
  const start = performance.now();
  await inTurn(reads, async (read) => {
    const at = performance.now();
    await read({ onMetadata });
    latencies.push(performance.now() - at);
  });
  const seconds = (performance.now() - start) / 1000;
  const after = client!.stats();
  const kept = before && after && after.hits + after.stale - before.hits - before.stale;
  latencies.sort((a, b) => a - b);
  const at = (share: number) => latencies[Math.floor(share * (latencies.length - 1))]!;
  const { length } = latencies;
  return { perS: length / seconds, p50Ms: at(0.5), p99Ms: at(0.99), calls: length, aged, kept };
}

/** A method of the client with its decoded request. */
function readOf({ method, message }: Prepare["calls"][number]): Read {
  const [name, { requestDeserialize: decode }] = Object.entries(CatalogServiceService).find(
    ([, { path }]) => path === `/${method}`,
  )!;
  const request = decode(Buffer.from(message, "base64"));
  return (settings) => client!.read(name as "getProduct", request as never, settings);
}

async function inTurn(all: readonly Read[], work: (read: Read) => Promise<unknown>) {
  let next = 0;
  const worker = async () => {
    while (next < all.length) await work(all[next++]!);
  };
  await Promise.all(Array.from({ length: IN_FLIGHT }, worker));
}

process.on("message", (message: Prepare | "run") => {
  void (message === "run" ? run() : prepare(message)).then((answer) => process.send?.(answer));
});
process.once("disconnect", () => process.exit());
process.send?.("started");
