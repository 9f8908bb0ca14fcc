import { afterEach, beforeEach, expect, test } from "vitest";
import type { Context } from "waybill";
import type { Credentials } from "waybill/auth";
import type { Ring } from "#proto/waybill/keys/v1/keys.ts";
import { makeOneTimeKey, openRing } from "#shared/rings/sealedRing.ts";
import { makeCredentials } from "../../../test/support/callers/credentials.ts";
import { waitFor } from "../../../test/support/waitFor.ts";
import type { KeysDependencies } from "../index.ts";
import { watchRing } from "./watchRing.ts";

/** The version that the table has, and how often it was read. */
let version: number;
let reads: number;
/** Tells the watch of a version, as the key services tell each other. */
let tell: (version: number) => void;
let stopping: AbortController;
let credentials: Credentials;
let versions: AsyncGenerator<number>;

beforeEach(async () => {
  version = 1;
  reads = 0;
  stopping = new AbortController();
  credentials = await makeCredentials();
  versions = watch();
});
afterEach(async () => {
  stopping.abort();
  await versions.return(undefined);
});

/** The versions that a watcher is sent. */
async function* watch(): AsyncGenerator<number> {
  const oneTimeKey = await makeOneTimeKey();
  const dependencies = {
    credentials,
    rings: {
      async get(audience: string): Promise<Ring> {
        reads += 1;
        await oneTurn();
        return { audience, version, keys: [] };
      },
    },
    versions: {
      watch(_audience: string, heard: typeof tell) {
        tell = heard;
        return () => {};
      },
    },
  } as unknown as KeysDependencies;
  const caller = { service: "checkout", oneTimeKey: oneTimeKey.publicJwk };
  const { signal } = stopping;
  const context = { caller, signal, origin: { address: "" } } as unknown as Context;
  for await (const { ring } of watchRing(dependencies)({ audience: "checkout" }, context)) {
    yield (await openRing(ring!, "checkout", oneTimeKey, credentials)).version;
  }
}

const oneTurn = () => new Promise<void>((resolve) => setImmediate(resolve));
/** As many turns as many reads would take. */
async function manyTurns(): Promise<void> {
  for (let turn = 0; turn < 50; turn += 1) await oneTurn();
}

test("a version that is told of and never was costs one read each time, and the watch goes on", async () => {
  expect((await versions.next()).value).toBe(1);
  const next = versions.next();
  await manyTurns();
  expect(reads).toBe(1);
  for (const told of [99, 99, 100]) {
    const before = reads;
    tell(told);
    await manyTurns();
    expect(reads).toBe(before + 1);
  }
  version = 2;
  tell(2);
  expect((await next).value).toBe(2);
});

test("a version that is told of while the ring is read is not missed", async () => {
  const first = versions.next();
  await waitFor("a read of the ring", () => reads > 0);
  // The read is of a moment before.
  tell(2);
  expect((await first).value).toBe(1);
  version = 2;
  expect((await versions.next()).value).toBe(2);
  expect(reads).toBe(2);
});
