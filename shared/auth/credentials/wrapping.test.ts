import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { loadWrapping, wrapping } from "./wrapping.ts";

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
    `ring key AAAAAAAAAAA is wrapped with the key-encryption key ${id}, which is not ${other.id}`,
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

test.each<[string, unknown[], string]>([
  ["empty", [Buffer.alloc(0)], "key-encryption key 1 must be 32 bytes long, not 0"],
  ["16 bytes", [randomBytes(16)], "key-encryption key 1 must be 32 bytes long, not 16"],
  ["text", ["k".repeat(32)], "key-encryption key 1 must be a Buffer or Uint8Array"],
  ["zeros", [randomBytes(32), Buffer.alloc(32)], "key-encryption key 2 must be random bytes"],
  ["the same as the other", [Buffer.alloc(32, 1), Buffer.alloc(32, 1)], "is given twice"],
])("K9 a key-encryption key that is %s is refused", (_name, keys, rule) => {
  expect(() => wrapping(...(keys as [Buffer, ...Buffer[]]))).toThrow(rule);
});

test("K9 a later change of the caller's buffer changes no key-encryption key", () => {
  const given = Buffer.alloc(32, 1);
  const wrap = wrapping(given);
  given.fill(0);
  const key = randomBytes(32);
  const row = { ...ROW, wrappingKeyId: wrap.id, wrapped: wrap.wrap(ROW, key) };
  expect(wrapping(Buffer.alloc(32, 1)).unwrap(row)).toEqual(key);
});

const LINE = Buffer.alloc(32, 1).toString("base64url");
const NEWER = Buffer.alloc(32, 2).toString("base64url");
test.each<[string, string, string]>([
  ["nothing", "", "line 1 must be 32 bytes in base64url"],
  ["a line break alone", "\n", "line 1 must be 32 bytes in base64url"],
  ["31 bytes", LINE.slice(0, -2), "line 1 must be 32 bytes in base64url"],
  ["33 bytes", randomBytes(33).toString("base64url"), "line 1 must be 32 bytes in base64url"],
  ["hexadecimal", Buffer.alloc(32, 1).toString("hex"), "line 1 must be 32 bytes in base64url"],
  ["standard base64 with padding", `${LINE}=`, "line 1 must be 32 bytes in base64url"],
  ["a foreign character", `${LINE.slice(0, 20)}!${LINE.slice(20)}`, "line 1 must be 32 bytes"],
  ["unused bits that are set", `${LINE.slice(0, -1)}F`, "line 1 must be 32 bytes in base64url"],
  ["two keys on one line", `${LINE} ${NEWER}`, "line 1 must be 32 bytes in base64url"],
  ["an empty line between", `${LINE}\n\n`.concat(NEWER), "expected one line or two, not 3"],
  ["a bad second line", `${LINE}\nAAAA`, "line 2 must be 32 bytes in base64url"],
  ["one key twice", `${LINE}\n${LINE}\n`, "a key-encryption key is given twice"],
  ["zeros", "A".repeat(43), "key-encryption key 1 must be random bytes"],
])("K9 a file of key-encryption keys with %s is refused", (_name, content, rule) => {
  const folder = mkdtempSync(join(tmpdir(), "waybill-wrapping-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const file = join(folder, "key");
  for (const good of [LINE, `${LINE}\n`, `${NEWER}\r\n${LINE}\r\n`]) {
    writeFileSync(file, good);
    expect(loadWrapping(file).id).toBeDefined();
  }
  writeFileSync(file, content);
  expect(() => loadWrapping(file)).toThrow(`${file}: ${rule}`);
  expect(() => loadWrapping(file)).not.toThrow(LINE);
});
