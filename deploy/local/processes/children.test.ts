import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { family } from "../../../test/support/processes.ts";
import { Children, type ServingProgram } from "./children.ts";

let folder: string;
let children: Children;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "waybill-children-"));
  children = new Children();
});
afterEach(async () => {
  await children.close();
  rmSync(folder, { recursive: true });
});

/** Processes that this one has started, but for the `ps` that lists them. */
const descendants = () => family(process.pid).filter(({ args }) => args.includes(folder));

/** A program that runs until it is ended, with a child of its own. */
function program(code: string): Omit<ServingProgram<unknown>, "ready"> {
  return {
    name: "the program",
    command: process.execPath,
    args: ["-e", code, folder],
    options: { env: {} },
    logFile: join(folder, "log"),
    startLimitMs: 20_000,
  };
}
const RUNS_ON = "setInterval(() => {}, 1000)";

test("a program that does not serve within its limit is ended before the error", async () => {
  const starting = children.startServing({
    ...program(RUNS_ON),
    startLimitMs: 50,
    ready: () => new Promise(() => {}),
  });
  await expect(starting).rejects.toThrow(
    `the program did not serve within 0.05 s of its start: see ${join(folder, "log")}`,
  );
  expect(descendants()).toEqual([]);
});

test("ends a program whose readiness check fails", async () => {
  const ready = async () => {
    expect(descendants()).toHaveLength(1);
    throw new Error("no such method");
  };
  const starting = children.startServing({ ...program(RUNS_ON), ready });
  await expect(starting).rejects.toThrow("no such method");
  expect(descendants()).toEqual([]);
});

test("a program that ends at its start is named, with its log", async () => {
  let over: AbortSignal | undefined;
  const starting = children.startServing({
    ...program("console.error('no config'); process.exit(3)"),
    ready: (_child, signal) => {
      over = signal;
      return new Promise(() => {});
    },
  });
  await expect(starting).rejects.toThrow(`the program ended at its start: see ${folder}`);
  expect(over?.aborted).toBe(true);
  expect(readFileSync(join(folder, "log"), "utf8")).toBe("no config\n");
});

test("closing ends the children that are left, and starts no more", async () => {
  const { command, args } = program(RUNS_ON);
  await children.start(command, args, { env: {}, stdio: "ignore" });
  await children.start(command, args, { env: {}, stdio: "ignore" });
  expect(descendants()).toHaveLength(2);
  await children.close();
  expect(descendants()).toEqual([]);
  await expect(children.start(command, args, { env: {} })).rejects.toThrow("the runner stops");
  children = new Children();
});

test("a program that does not exist is an error", async () => {
  const starting = children.start(join(folder, "none"), [], { env: {} });
  await expect(starting).rejects.toThrow("ENOENT");
});
