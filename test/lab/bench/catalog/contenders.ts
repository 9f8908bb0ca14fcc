import type { Bench } from "../bench.ts";
import type { Processes } from "../contender.ts";
import { type LoadResult, putMixedLoad } from "../load.ts";
import { exactCpuUsOfTree, residentMbOfTree } from "../processTimes.ts";
import type { Measure } from "../results/results.ts";
import type { Reads } from "./reads.ts";
import type { RunningCatalog } from "./startCatalog.ts";
import { type Reader, startReader } from "./startReader.ts";

/** Right before each run: compiles the code and fills the caches. */
const WARM_UP_CALLS = 1500;
/** Emptied first, so that no entry expires during the run. */
const ANEW = [{ "cache-control": "no-cache" }];

/** Measures of each reading. CPU is the sum of its processes, then listed by process. */
export const READ_MEASURES: readonly Measure[] = [
  { name: "rate", unit: "reads/s" },
  { name: "p50", unit: "ms" },
  { name: "p99", unit: "ms" },
  { name: "CPU", unit: "µs a read" },
  { name: "service", unit: "µs" },
  { name: "Postgres", unit: "µs" },
  { name: "client", unit: "µs" },
  { name: "memory", unit: "MB" },
  { name: "service hits", unit: "% of reads" },
  { name: "client hits", unit: "% of reads" },
];

/** Reads of a catalog, with or without caches. */
export interface Reading {
  readonly name: string;
  measure(): Promise<Record<string, number>>;
}

/** Reads by the load generator, directly from the service. */
export function byLoad(name: string, catalog: RunningCatalog, { hot, calls }: Reads): Reading {
  const { address: target, processes } = catalog;
  const warmUp = Array.from({ length: Math.min(WARM_UP_CALLS, calls.length) }, (_, at) => {
    return hot[at % hot.length]!;
  });
  return {
    name,
    async measure() {
      await catalog.forget();
      await putMixedLoad({ target, mixed: hot, metadata: ANEW });
      await putMixedLoad({ target, mixed: warmUp });
      const cost = costOf(processes);
      const result = await putMixedLoad({ target, mixed: calls });
      return { ...cost(result), "service hits": percent(result.aged, result) };
    },
  };
}

/** Reads by a program with the SDK's client. */
export async function byClient(
  bench: Bench,
  catalog: RunningCatalog,
  kind: "cache" | "none",
): Promise<(name: string, reads: Reads) => Reading> {
  const { address, credentialsDir } = catalog;
  const starting = startReader(address, credentialsDir, kind);
  const reader: Reader = await bench.own("a reader", starting, (each) => each.end());
  const processes = { ...catalog.processes, client: [reader.pid] };
  return (name, reads) => ({
    name,
    async measure() {
      await catalog.forget();
      await reader.prepare(reads);
      const cost = costOf(processes);
      const result = await reader.run();
      const { aged, kept } = result;
      return {
        ...cost(result),
        // Hits of the client's cache have an age, too.
        "service hits": percent(aged - (kept ?? 0), result),
        ...(kept === undefined ? {} : { "client hits": percent(kept, result) }),
      };
    },
  });
}

/** Starts a CPU measurement. @returns the CPU time since then */
function costOf(processes: Processes): (result: LoadResult) => Record<string, number> {
  const named = Object.entries(processes);
  const sum = (pids: readonly number[], of: (pid: number) => number) =>
    pids.reduce((total, pid) => total + of(pid), 0);
  const before = named.map(([, pids]) => sum(pids, exactCpuUsOfTree));
  return ({ calls, perS, p50Ms, p99Ms }) => {
    const cpu = named.map(([name, pids], index) => {
      return [name, (sum(pids, exactCpuUsOfTree) - before[index]!) / calls] as const;
    });
    return {
      ...{ rate: perS, p50: p50Ms, p99: p99Ms },
      CPU: cpu.reduce((total, [, us]) => total + us, 0),
      ...Object.fromEntries(cpu),
      memory: named.reduce((total, [, pids]) => total + sum(pids, residentMbOfTree), 0),
    };
  };
}

function percent(part: number, { calls }: LoadResult): number {
  return (100 * part) / calls;
}
