import { spawnSync } from "node:child_process";
import { expect, test } from "vitest";

const urlOf = (file: string) => JSON.stringify(new URL(file, import.meta.url).href);

/** Runs code in a program that handles its faults. @returns its exit code, output and log lines */
function run(act: string): {
  code: number | null;
  said: string[];
  lines: Record<string, unknown>[];
} {
  const program = `
    import { handleFaults } from ${urlOf("./processFaults.ts")};
    import { createLog } from ${urlOf("../../shared/runtime/log.ts")};
    const log = createLog("info");
    let drained = async () => {};
    handleFaults(log, async () => {
      console.log("draining");
      await drained();
      console.log("drained");
    });
    const turn = () => new Promise((resolve) => setImmediate(resolve));
    ${act}`;
  const args = ["--input-type=module", "-e", program];
  const { status, stdout, stderr } = spawnSync(process.execPath, args, { encoding: "utf8" });
  const lines = stderr.split("\n").filter((line) => line.startsWith("{"));
  return {
    code: status,
    said: stdout.split("\n").filter((line) => line !== ""),
    lines: lines.map((line) => JSON.parse(line)),
  };
}

/** An error whose message throws when it is read. */
const UNREADABLE = `Object.defineProperty(new Error("a"), "message", {
  get() { throw new Error("no message"); },
})`;

test("R8 an unhandled rejection is logged and counted; the process continues", () => {
  const { code, said, lines } = run(`
    Promise.reject(new Error("forgotten"));
    await turn();
    for (const reason of [undefined, null, "a text", ${UNREADABLE}]) {
      Promise.reject(reason);
      await turn();
    }
    console.log("still here");`);
  expect({ code, said }).toEqual({ code: 0, said: ["still here"] });
  expect(lines).toHaveLength(5);
  expect(lines.map(({ level, rejections }) => [level, rejections])).toEqual(
    [1, 2, 3, 4, 5].map((count) => [50, count]),
  );
  expect(lines[0]).toMatchObject({
    msg: "unhandled rejection; the replica continues to serve",
    err: { message: "forgotten", stack: expect.stringContaining("Error: forgotten\n    at ") },
  });
});

test("R8 an uncaught exception is logged; the process drains and exits", () => {
  const { code, said, lines } = run(`
    const { promise, resolve } = Promise.withResolvers();
    drained = () => promise;
    setImmediate(() => {
      // Calls in flight continue, even when another exception follows.
      setImmediate(() => {
        setImmediate(() => {
          console.log("a call ends");
          resolve();
        });
        throw new Error("the second");
      });
      throw new Error("the first");
    });
    setInterval(() => {}, 1000);`);
  expect({ code, said }).toEqual({ code: 1, said: ["draining", "a call ends", "drained"] });
  expect(lines).toMatchObject([
    { level: 60, err: { message: "the first", stack: expect.stringContaining("at ") } },
    { level: 60, err: { message: "the second" } },
  ]);
});

test("R8 a process whose drain fails exits with 1", () => {
  for (const drained of [
    "() => Promise.reject(new Error('drain'))",
    "() => { throw new Error('drain'); }",
  ]) {
    const { code } = run(`
      drained = ${drained};
      setInterval(() => {}, 1000);
      setImmediate(() => { throw ${UNREADABLE}; });`);
    expect(code).toBe(1);
  }
});
