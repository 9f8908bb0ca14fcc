import { randomBytes } from "node:crypto";
import { expect, test } from "vitest";
import { wrapping } from "./wrapping.ts";

const ROW = { id: "AAAAAAAAAAA", audience: "checkout", state: "active" };

test("K6 a key is unwrapped from its own row alone", () => {
  const wrap = wrapping(randomBytes(32));
  const key = randomBytes(32);
  const wrapped = wrap.wrap(ROW, key);
  const row = { ...ROW, wrappingKeyId: wrap.id, wrapped };
  expect(wrap.unwrap(row)).toEqual(key);
  for (const moved of [
    { ...row, id: "BBBBBBBBBBB" },
    { ...row, audience: "session" },
    { ...row, state: "retired" },
    { ...row, wrapped: wrap.wrap({ ...ROW, id: "BBBBBBBBBBB" }, key) },
    { ...row, wrapped: wrapped.subarray(0, -1) },
    { ...row, wrapped: Buffer.alloc(0) },
  ]) {
    expect(() => wrap.unwrap(moved)).toThrow(/was changed in the table/);
  }
});

test("K6 another key-encryption key is named, not tried", () => {
  const wrapped = wrapping(Buffer.alloc(32, 1)).wrap(ROW, randomBytes(32));
  const { id } = wrapping(Buffer.alloc(32, 1));
  const other = wrapping(Buffer.alloc(32, 2));
  expect(() => other.unwrap({ ...ROW, wrappingKeyId: id, wrapped })).toThrow(
    `key AAAAAAAAAAA is wrapped with ${id}, and this is ${other.id}`,
  );
});

test("K6 during its rotation two key-encryption keys unwrap, and the first wraps", () => {
  const [older, newer] = [Buffer.alloc(32, 1), Buffer.alloc(32, 2)];
  const key = randomBytes(32);
  const before = wrapping(older);
  const row = { ...ROW, wrappingKeyId: before.id, wrapped: before.wrap(ROW, key) };
  const both = wrapping(newer, older);
  expect(both.unwrap(row)).toEqual(key);
  const after = { ...ROW, wrappingKeyId: both.id, wrapped: both.wrap(ROW, key) };
  expect(wrapping(newer).unwrap(after)).toEqual(key);
  expect(() => before.unwrap(after)).toThrow("is wrapped with");
});
