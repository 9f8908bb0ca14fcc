/**
 * Ends the children of a runner that was killed itself.
 *
 * The runner keeps this process's standard input open and writes `add PID SIGNAL`, `remove PID` and,
 * when it has ended its children itself, `bye`. When the input ends without that, each child's
 * process group gets its signal, and SIGKILL if it is still there after ten seconds.
 */
import { createInterface } from "node:readline";
import { setTimeout as delay } from "node:timers/promises";

const LIMIT_MS = 10_000;
const STEP_MS = 100;

const children = new Map<number, NodeJS.Signals>();
let bye = false;

// The runner's terminal is not this process's business.
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => {});

for await (const line of createInterface({ input: process.stdin })) {
  const [command, pid, signal] = line.split(" ");
  if (command === "add") children.set(Number(pid), signal as NodeJS.Signals);
  else if (command === "remove") children.delete(Number(pid));
  else if (command === "bye") bye = true;
}

if (!bye) {
  for (const [pid, signal] of children) send(pid, signal);
  for (let waited = 0; waited < LIMIT_MS && living().length > 0; waited += STEP_MS) {
    await delay(STEP_MS);
  }
  for (const pid of living()) send(pid, "SIGKILL");
}

function living(): number[] {
  return [...children.keys()].filter((pid) => send(pid, 0));
}

function send(pid: number, signal: NodeJS.Signals | 0): boolean {
  try {
    process.kill(-pid, signal);
    return true;
  } catch {
    return false;
  }
}
