import { spawnSync } from "node:child_process";
import { expect, test } from "vitest";

const MODULE = new URL("./log.ts", import.meta.url).href;

/** Runs a program that logs the error of an expression. @returns its output */
function logged(error: string): string {
  const program = `import { createLog } from ${JSON.stringify(MODULE)};
    createLog("info").error({ err: ${error} }, "call failed");`;
  const args = ["--input-type=module", "-e", program];
  return spawnSync(process.execPath, args, { encoding: "utf8" }).stderr;
}

test("C2 what Postgres repeats of a row is cut out of its error", () => {
  const fields =
    '{ detail: "Key (secret)=(hunter2) exists", where: "$1 = hunter2", code: "23505" }';
  for (const error of [
    `Object.assign(new Error("duplicate"), ${fields})`,
    `new Error("outer", { cause: Object.assign(new Error("duplicate"), ${fields}) })`,
  ]) {
    const line = logged(error);
    expect(line).toContain("23505");
    expect(line).not.toContain("hunter2");
  }
});

test.each([
  ["an error", "SECRET"],
  ["its cause", 'new Error("outer", { cause: SECRET })'],
  ["the cause of that", 'new Error("outer", { cause: new Error("inner", { cause: SECRET }) })'],
  ["a refusal's cause", 'Object.assign(new Error("outer"), { details: { cause: SECRET } })'],
])("what a token claims is cut out of %s", (_, error) => {
  const secret = 'Object.assign(new Error("the token"), { payload: { sub: "users/ada" } })';
  const line = logged(error.replace("SECRET", secret));
  expect(JSON.parse(line)).toMatchObject({ level: 50, msg: "call failed" });
  expect(line).not.toContain("users/ada");
});

test("C2 a secret is cut out wherever it stands", () => {
  const line = logged(
    'new AggregateError([Object.assign(new Error("a"), { request: { waybill: "abc" } })])',
  );
  expect(JSON.parse(line)).toMatchObject({ err: { errors: [{ message: "a", request: {} }] } });
  expect(line).not.toContain("abc");
});
