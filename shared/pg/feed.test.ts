import { afterEach, expect, test } from "vitest";
import { Feed } from "./feed.ts";

/** The rows, and the waiting reads. */
let head = 0n;
let reads: { after: bigint; answer(): void; fail(error: Error): void }[] = [];
let feed: Feed<{ number: bigint }>;

const never = 2 ** 30;
const make = () => {
  reads = [];
  feed = new Feed((after) => {
    const { promise, resolve, reject } = Promise.withResolvers<{ number: bigint }>();
    reads.push({ after, answer: () => resolve({ number: head }), fail: reject });
    return promise;
  }, never);
};
afterEach(() => feed.close());

/** Answers the read that waits. */
async function answer(after: bigint): Promise<void> {
  await expect.poll(() => reads.length).toBe(1);
  const [read] = reads.splice(0);
  expect(read!.after).toBe(after);
  read!.answer();
}

test("who follows is told of what comes, from where he was, and reads only when woken", async () => {
  make();
  head = 3n;
  const stopping = new AbortController();
  const pieces = feed.follow(2n, stopping.signal);
  const first = pieces.next();
  await answer(2n);
  expect((await first).value).toEqual({ number: 3n });
  const second = pieces.next();
  // There may be more than one answer holds.
  await answer(3n);
  await new Promise(setImmediate);
  expect(reads).toEqual([]);
  head = 4n;
  feed.wake();
  await answer(3n);
  expect((await second).value).toEqual({ number: 4n });
  const last = pieces.next();
  await answer(4n);
  stopping.abort();
  expect((await last).done).toBe(true);
});

test("who is to be greeted hears at once where the feed is, also when nothing is new", async () => {
  make();
  head = 3n;
  const pieces = feed.follow(3n, new AbortController().signal, true);
  const first = pieces.next();
  await answer(3n);
  expect((await first).value).toEqual({ number: 3n });
});

test("who asks while a read is under way gets one that begins after he asked, shared with others", async () => {
  make();
  head = 1n;
  const first = feed.read(0n);
  await expect.poll(() => reads.length).toBe(1);
  const [second, third] = [feed.read(0n), feed.read(0n)];
  expect(third).toBe(second);
  head = 2n;
  reads.shift()!.fail(new Error("away"));
  await expect(first).rejects.toThrow("away");
  await answer(0n);
  expect(await second).toEqual({ number: 2n });
});
