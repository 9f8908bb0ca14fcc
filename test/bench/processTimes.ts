import { readdirSync, readFileSync } from "node:fs";

/** What the kernel counts in: ticks of a hundredth of a second. */
const TICK_S = 0.01;

/** CPU time of a process, in seconds: its own, and its ended children's. */
export function cpuSecondsOf(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  // The name may hold spaces; what comes after it does not.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const [utime, stime, cutime, cstime] = fields.slice(11, 15).map(Number) as [
    number,
    number,
    number,
    number,
  ];
  return (utime + stime + cutime + cstime) * TICK_S;
}

/** CPU time of a process and of all that descend from it, in seconds. */
export function cpuSecondsOfTree(pid: number): number {
  let total = cpuSecondsOf(pid);
  for (const child of childrenOf(pid)) total += cpuSecondsOfTree(child);
  return total;
}

/** Writes that a process and all that descend from it have asked the system for, to files. */
export function writesOfTree(pid: number): number {
  const [, writes] = /^syscw: (\d+)$/m.exec(readFileSync(`/proc/${pid}/io`, "utf8")) ?? [];
  return childrenOf(pid).reduce((sum, child) => sum + writesOfTree(child), Number(writes));
}

function childrenOf(pid: number): number[] {
  const tasks = readdirSync(`/proc/${pid}/task`);
  return tasks.flatMap((task) =>
    readFileSync(`/proc/${pid}/task/${task}/children`, "utf8")
      .split(" ")
      .filter((text) => text !== "")
      .map(Number),
  );
}
