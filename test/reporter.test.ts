import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { CACHE } from "../deploy/local/paths.ts";
import { compareSkips } from "./reporter.ts";

const file = "a.test.ts";
const listed = { [file]: { one: "no helm", group: "no Go" }, "b.test.ts": { other: "no Go" } };
const ran = (fullName: string, isSkipped: boolean) => ({ file, fullName, isSkipped });

test("a skipped test or its describe must be listed", () => {
  const tests = [ran("one", true), ran("group > two", true)];
  const none = { unlisted: [], unknown: [], unused: [] };
  expect(compareSkips(listed, tests)).toEqual(none);
  const more = [...tests, ran("groups", true), ran("ran", false)];
  expect(compareSkips(listed, more)).toEqual({ ...none, unlisted: [`${file}: groups`] });
});

test("tells unused entries from entries without a test", () => {
  expect(compareSkips(listed, [ran("one", false)])).toEqual({
    ...{ unlisted: [], unknown: [`${file}: group`], unused: [`${file}: one`] },
  });
});

// Inside the project, so that it finds Vitest.
mkdirSync(CACHE, { recursive: true });
const folder = mkdtempSync(join(CACHE, "reporter-"));
afterAll(() => rmSync(folder, { recursive: true }));

function run(text: string, ...args: string[]) {
  writeFileSync(join(folder, "some.test.ts"), `import { test } from "vitest";\n${text}`);
  const reporter = `--reporter=${join(import.meta.dirname, "reporter.ts")}`;
  const program = join(import.meta.dirname, "..", "node_modules", ".bin", "vitest");
  const { status, stdout } = spawnSync(
    process.execPath,
    [program, "run", "--root", folder, reporter, ...args],
    { encoding: "utf8" },
  );
  return { status, stdout };
}

test("an unlisted skip fails the run by name", () => {
  const { status, stdout } = run('test.skip("left out", () => {}); test("runs", () => {});');
  expect(stdout).toContain("skipped, but not listed in test/skips.json: some.test.ts: left out\n");
  expect(stdout).toContain("1 passed, 0 failed, 1 skipped\n");
  expect(status).toBe(1);
});

test("runs without skips, or filtered by name, pass", () => {
  const text = 'test("one", () => {}); test("two", () => {});';
  expect(run(text)).toMatchObject({ status: 0 });
  expect(run(text, "-t", "one")).toMatchObject({ status: 0 });
});

test("a failed set-up reports no test as unlisted", () => {
  const text = `import { beforeAll, describe } from "vitest";
    describe("outer", () => {
      beforeAll(() => { throw new Error("no set-up"); });
      describe("inner", () => test("one", () => {}));
    });`;
  const { status, stdout } = run(text);
  expect(stdout).not.toContain("not listed");
  expect(status).toBe(1);
});
