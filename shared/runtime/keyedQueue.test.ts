import { expect, test } from "vitest";
import { KeyedQueue } from "./keyedQueue.ts";

test("turns of one key come one at a time, in the order of asking; another key's at once", () => {
  const turns = new KeyedQueue();
  const begun: string[] = [];
  const take = (key: string, name: string) => turns.take(key, () => begun.push(name));
  const [a, b, c] = [take("x", "a"), take("x", "b"), take("x", "c")];
  take("y", "other");
  expect(begun).toEqual(["a", "other"]);
  // One that gives up its place is passed over.
  b();
  a();
  expect(begun).toEqual(["a", "other", "c"]);
  a();
  c();
  take("x", "d");
  expect(begun).toEqual(["a", "other", "c", "d"]);
});
