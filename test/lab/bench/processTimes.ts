import { existsSync, readdirSync, readFileSync } from "node:fs";

/** What the kernel counts in: ticks of a hundredth of a second. */
const TICK_S = 0.01;

interface Ticks {
  readonly own: number;
  /** Of its children that have ended. */
  readonly ended: number;
}

function ticksOf(pid: number): Ticks {
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  // The name may hold spaces; what comes after it does not.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const [utime, stime, cutime, cstime] = fields.slice(11, 15).map(Number) as [
    number,
    number,
    number,
    number,
  ];
  return { own: utime + stime, ended: cutime + cstime };
}

/** CPU time of a process, in seconds: its own, and its ended children's. */
export function cpuSecondsOf(pid: number): number {
  const { own, ended } = ticksOf(pid);
  return (own + ended) * TICK_S;
}

/**
 * CPU time of a process and of all that descend from it, in µs: to the nanosecond, where the kernel keeps
 * that. What a thread has used that is over is not in it: for programs whose threads stay.
 */
export function exactCpuUsOfTree(pid: number): number {
  const { own, ended } = ticksOf(pid);
  const threads = readdirSync(`/proc/${pid}/task`);
  const kept = existsSync(`/proc/${pid}/schedstat`);
  const ownUs = kept ? threads.reduce((sum, id) => sum + runUs(pid, id), 0) : own * TICK_S * 1e6;
  return childrenOf(pid).reduce(
    (sum, child) => sum + (unlessOver(() => exactCpuUsOfTree(child)) ?? 0),
    ownUs + ended * TICK_S * 1e6,
  );
}

function runUs(pid: number, thread: string): number {
  const read = () => readFileSync(`/proc/${pid}/task/${thread}/schedstat`, "utf8");
  const [ran = "0"] = (unlessOver(read) ?? "").split(" ");
  return Number(ran) / 1000;
}

/** Undefined: a process or thread that was there a moment ago is over. */
function unlessOver<T>(look: () => T): T | undefined {
  try {
    return look();
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ESRCH") return undefined;
    throw error;
  }
}

/**
 * Memory of a process and of all that descend from it, in MB: their own, and once what they share with
 * each other or have mapped from files.
 */
export function residentMbOfTree(pid: number): number {
  const statuses = [pid, ...descendants(pid)].flatMap(
    (each) => unlessOver(() => readFileSync(`/proc/${each}/status`, "utf8")) ?? [],
  );
  const of = (name: string) =>
    statuses.map((status) =>
      Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, "m").exec(status)?.[1] ?? 0),
    );
  const own = of("RssAnon").reduce((sum, each) => sum + each, 0);
  return (own + Math.max(...of("RssFile")) + Math.max(...of("RssShmem"))) / 1024;
}

function descendants(pid: number): number[] {
  return childrenOf(pid).flatMap((child) => [
    child,
    ...(unlessOver(() => descendants(child)) ?? []),
  ]);
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
