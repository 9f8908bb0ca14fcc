import { type Logger, pino } from "pino";
import { expect, test } from "vitest";
import { reconnect } from "./reconnect.ts";

/** Records the waits between runs, and aborts after so many runs. */
function loop(runs: number, minBackoffMs = 100, maxBackoffMs = 400) {
  const controller = new AbortController();
  const { signal } = controller;
  const waits: number[] = [];
  const lines: Record<string, unknown>[] = [];
  const log: Logger = pino({ level: "debug" }, { write: (line) => lines.push(JSON.parse(line)) });
  let count = 0;
  const counted = async (run: () => number | undefined) => {
    count += 1;
    if (count >= runs) controller.abort();
    return run();
  };
  const wait = async (ms: number) => waits.push(ms);
  return { counted, waits, lines, options: { signal, log, minBackoffMs, maxBackoffMs, wait } };
}

const fail = (): undefined => {
  throw new Error("no route");
};

test("backs off with jitter, twice as long each time up to the bound", async () => {
  const { counted, waits, options } = loop(6);
  await reconnect("stream disconnected; reconnecting", () => counted(() => undefined), options);
  const bounds = [100, 200, 400, 400, 400, 400];
  expect(waits).toHaveLength(bounds.length);
  for (const [index, bound] of bounds.entries()) {
    expect(waits[index]).toBeGreaterThanOrEqual(bound / 2);
    expect(waits[index]).toBeLessThanOrEqual(bound);
  }
});

test("resets the back-off when the connection works", async () => {
  const { counted, waits, options } = loop(4);
  const run = (succeeded: () => void) =>
    counted(() => {
      if (waits.length === 2) succeeded();
      return fail();
    });
  await reconnect("stream disconnected; reconnecting", run, options);
  expect(waits[1]).toBeGreaterThanOrEqual(100);
  expect(waits[2]).toBeLessThanOrEqual(100);
});

test("waits as long as a run says, and not at all for zero", async () => {
  const { counted, waits, options } = loop(5);
  const results = [undefined, 5000, 0, undefined, undefined];
  await reconnect("poll failed; will retry", () => counted(() => results.shift()), options);
  expect(waits).toHaveLength(4);
  expect(waits[1]).toBe(5000);
  expect(waits[2]).toBeLessThanOrEqual(100);
});

test("logs a failure with its cause, and none after the signal", async () => {
  const { counted, lines, options } = loop(3);
  const message = "stream disconnected; reconnecting";
  await reconnect(message, () => counted(fail), { ...options, level: "debug" });
  expect(lines).toMatchObject(Array(2).fill({ level: 20, cause: "no route", msg: message }));
  expect(lines).toHaveLength(2);
});

test("an aborted signal ends the wait and the loop", async () => {
  const controller = new AbortController();
  const run = async () => {
    setImmediate(() => controller.abort());
    return 60_000;
  };
  await reconnect("poll failed; will retry", run, { signal: controller.signal });
});
