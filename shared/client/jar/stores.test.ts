import { mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { FileStore } from "./stores.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "waybill-jar-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

test("a file store keeps waybills from one program to the next, for its owner alone", () => {
  const file = join(folder, "new", "jar.json");
  const store = new FileStore(file);
  store.set("checkout/default", "a.waybill");
  store.set("session/default", "another");
  store.delete("session/default");
  const next = new FileStore(file);
  expect(next.get("checkout/default")).toBe("a.waybill");
  expect(next.get("session/default")).toBe(undefined);
  expect(statSync(file).mode & 0o777).toBe(0o600);
  expect(readdirSync(join(folder, "new"))).toEqual(["jar.json"]);
});

test.each(["not json", "[]", "null"])("a file that is no store is named: %s", (content) => {
  const file = join(folder, "jar.json");
  writeFileSync(file, content);
  expect(() => new FileStore(file)).toThrow(`${file} is not a store of waybills`);
});
