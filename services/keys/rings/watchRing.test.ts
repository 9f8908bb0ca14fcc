import { afterEach, beforeEach, expect, test } from "vitest";
import type { Context } from "waybill";
import type { Credentials } from "waybill/auth";
import type { Ring } from "#proto/waybill/keys/v1/keys.ts";
import { makeOneTimeKey, openRing } from "#shared/rings/sealedRing.ts";
import { makeCredentials } from "../../../test/support/callers/credentials.ts";
import { waitFor } from "../../../test/support/waitFor.ts";
import type { KeysDependencies } from "../index.ts";
import { watchRing } from "./watchRing.ts";

/** The version in the table, and the number of reads. */
let version: number;
let reads: number;
/** Notifies the watch of a version, as another replica would. */
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

/** Yields the versions that a watcher receives. */
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
/** Waits for more turns than several reads would take. */
async function manyTurns(): Promise<void> {
  for (let turn = 0; turn < 50; turn += 1) await oneTurn();
}

test("reads once per notification of a nonexistent version and keeps watching", async () => {
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

test("does not miss a version notified during a read", async () => {
  const first = versions.next();
  await waitFor("a read of the ring", () => reads > 0);
  // The read started before the change.
  tell(2);
  expect((await first).value).toBe(1);
  version = 2;
  expect((await versions.next()).value).toBe(2);
  expect(reads).toBe(2);
});
