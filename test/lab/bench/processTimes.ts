import { existsSync, readdirSync, readFileSync } from "node:fs";

/** Kernel clock ticks per second. */
const TICK_S = 0.01;

interface Ticks {
  readonly own: number;
  /** Of its ended children. */
  readonly ended: number;
}

function ticksOf(pid: number): Ticks {
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  // The name may contain spaces; later fields do not.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const [utime, stime, cutime, cstime] = fields.slice(11, 15).map(Number) as [
    number,
    number,
    number,
    number,
  ];
  return { own: utime + stime, ended: cutime + cstime };
}

/** CPU time of a process and its ended children, in seconds. */
export function cpuSecondsOf(pid: number): number {
  const { own, ended } = ticksOf(pid);
  return (own + ended) * TICK_S;
}

/**
 * CPU time of a process and its descendants in µs, to the nanosecond if the kernel provides it. Ended
 * threads are not counted, so use it for programs whose threads stay alive.
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

/** Undefined: the process or thread has just ended. */
function unlessOver<T>(look: () => T): T | undefined {
  try {
    return look();
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ESRCH") return undefined;
    throw error;
  }
}

/** Memory of a process and its descendants, in MB: private memory, plus shared and mapped memory once. */
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

/** CPU time of a process and its descendants, in seconds. */
export function cpuSecondsOfTree(pid: number): number {
  let total = cpuSecondsOf(pid);
  for (const child of childrenOf(pid)) total += cpuSecondsOfTree(child);
  return total;
}

/** Write system calls of a process and its descendants to files. */
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
