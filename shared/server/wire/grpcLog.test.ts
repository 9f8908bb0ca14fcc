import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import { promisify } from "node:util";
import { expect, test } from "vitest";

const PROGRAM = new URL("../../../test/support/wire/loggedCalls.ts", import.meta.url).pathname;

/** Runs calls with a secret in a program of their own, and gives the lines that it has written. */
async function run(setup: string, env: Record<string, string> = {}): Promise<string[]> {
  const secret = `secret-${randomBytes(8).toString("hex")}`;
  const args = [PROGRAM, secret, setup];
  const { stdout, stderr } = await promisify(execFile)(process.execPath, args, {
    env: { ...process.env, ...env },
    maxBuffer: 2 ** 26,
  });
  const written = stdout + stderr;
  expect(written).toContain("done");
  const at = written.indexOf(secret);
  expect(at === -1 ? "" : written.slice(at - 200, at)).toBe("");
  return written.split("\n");
}

const dropped = (line: string) => line.includes("metadata entry x-odd");
const TRACING = { GRPC_TRACE: "all", GRPC_VERBOSITY: "DEBUG" };

test("C2 a client keeps what it sends and receives out of grpc-js's log", async () => {
  const lines = await run("client alone");
  const found = lines.filter(dropped);
  // The head's, and those at the end of two calls.
  expect(found).toHaveLength(3);
  expect(found[0]).toBe("E Failed to add metadata entry x-odd: [redacted]");
});

test("C2 a server without a log keeps metadata out of grpc-js's", async () => {
  expect((await run("no log")).filter(dropped).length).toBeGreaterThan(3);
});

test("C2 a server's log gets grpc-js's lines, without values and not as errors", async () => {
  const lines = await run("log");
  const found = lines.filter(dropped).filter((line) => line.startsWith("{"));
  expect(found.length).toBeGreaterThan(0);
  for (const line of found) {
    expect(JSON.parse(line)).toMatchObject({
      level: 30,
      library: "grpc-js",
      msg: "Failed to add metadata entry x-odd: [redacted]",
    });
  }
});

test("C2 a logger that the program has set for grpc-js stays, and gets no values", async () => {
  const found = (await run("own logger")).filter(dropped);
  expect(found.length).toBeGreaterThan(3);
  expect(found.every((line) => line.startsWith("OWN "))).toBe(true);
});

test("C2 traces of grpc-js show no metadata either", async () => {
  for (const setup of ["client alone", "no log", "log"]) {
    const lines = await run(setup, TRACING);
    const seen = (text: string) => lines.some((line) => line.includes(text));
    expect(seen("Received server headers: [redacted]"), setup).toBe(true);
    expect(seen("Received server trailers: [redacted]"), setup).toBe(true);
    if (setup !== "client alone") expect(seen("received headers: [redacted]"), setup).toBe(true);
  }
});
