import type { Bench } from "./bench.ts";
import { putLoad } from "./load.ts";
import { beginSessions, type Carrier, type SERVICES, type Sent } from "./peers/beginSessions.ts";
import type { PeerSettings } from "./peers/peer.ts";
import { startPeer } from "./peers/start.ts";
import { PROTOSET } from "./peers/waybillSession.ts";
import { exactCpuUsOfTree, residentMbOfTree } from "./processTimes.ts";
import type { Measure } from "./results/results.ts";

/** Right before a measurement: a process that was idle for seconds is slower at first. */
const WARM_UP_CALLS = 1500;
/** Once, before the first round: enough calls for the JIT compiler. */
const FIRST_CALLS = 5000;
/** A pool of this size is different for each call, as far as header compression can tell. */
const MOST_POOLED = 1000;
const MOST_POOLED_BYTES = 4 * 2 ** 20;

/** The session store of a peer. */
export interface Store {
  /** Host and port. */
  readonly address: string;
  /** The peer's settings for the store, by an address that leads to it. */
  readonly settings: (address: string) => PeerSettings;
  /** The store's processes, by name. */
  readonly processes: Processes;
}

/** Process ids by name; CPU and memory include their descendants. */
export type Processes = Readonly<Record<string, readonly number[]>>;

/** A design for sessions, and the call to measure. */
export interface Recipe {
  readonly name: string;
  /** Kind of the peer. */
  readonly kind: string;
  readonly settings?: PeerSettings;
  readonly store?: Store | undefined;
  readonly service?: keyof typeof SERVICES;
  readonly method: "Begin" | "Read" | "Advance";
  /** Undefined: calls have no session. */
  readonly carrier?: Carrier;
  /** A session serves one call, which spends its waybill. */
  readonly isSpent?: boolean;
  /** Size of its state, in bytes. */
  readonly size: number;
  /** The peer that begins its sessions. Default: the measured peer. */
  readonly beganAt?: string;
}

/** A running peer. */
export interface Contender extends Recipe {
  readonly address: string;
  /** All processes that take part in a call, by name. */
  readonly processes: Processes;
}

/** Amount and rate of the load. */
export interface Amount {
  readonly calls: number;
  /** Calls per second. Default: as fast as responses arrive. */
  readonly perS?: number;
  readonly connections?: number;
}

/** Measures of each contender. CPU is the sum of its processes, then listed by process. */
export const LOAD_MEASURES: readonly Measure[] = [
  { name: "rate", unit: "calls/s" },
  { name: "p50", unit: "ms" },
  { name: "p99", unit: "ms" },
  { name: "CPU", unit: "µs a call" },
  { name: "service", unit: "µs" },
  { name: "Redis", unit: "µs" },
  { name: "Postgres", unit: "µs" },
  { name: "session service", unit: "µs" },
  { name: "memory", unit: "MB" },
];

export async function startContender(bench: Bench, recipe: Recipe): Promise<Contender> {
  const { kind, settings, store } = recipe;
  const told = { ...settings, ...store?.settings(store.address) };
  const peer = await bench.own(recipe.name, startPeer(kind, told), (each) => each.end());
  const processes = { service: [peer.pid], ...store?.processes };
  return { ...recipe, address: peer.address, processes };
}

/** Makes warm-up calls. @returns calls per second */
export async function warmUp(
  bench: Bench,
  contender: Contender,
  most = FIRST_CALLS,
): Promise<number> {
  bench.step(`warming up ${contender.name}`);
  const calls = bench.calls(most);
  const sent = await sessionsOf(contender, calls);
  return (await putLoad({ ...loadOf(contender), ...sent, calls })).perS;
}

export function loadOf({ address, service = "CarriedService", method }: Contender) {
  const path = `waybill.bench.v1.${service}/${method}`;
  return { target: address, method: path, protoset: PROTOSET };
}

/**
 * Prepares the credentials of a contender's calls: begun now, so that no waybill is refreshed during the
 * run.
 */
export function sessionsOf(contender: Contender, calls: number): Promise<Sent> {
  const { carrier, size, isSpent, service = "CarriedService" } = contender;
  if (carrier === undefined) return Promise.resolve({});
  const pooled = Math.min(calls, MOST_POOLED, Math.max(32, Math.ceil(MOST_POOLED_BYTES / size)));
  const count = isSpent ? calls : pooled;
  const at = contender.beganAt ?? contender.address;
  return beginSessions(at, { service, carrier, size, count });
}

/** Runs a load on a contender and measures its cost. @throws Error if a call fails */
export async function measure(
  contender: Contender,
  amount: Amount,
): Promise<Record<string, number>> {
  const warmUpCalls = Math.min(WARM_UP_CALLS, Math.ceil(amount.calls / 2));
  const first = await sessionsOf(contender, warmUpCalls);
  const sent = await sessionsOf(contender, amount.calls);
  const load = loadOf(contender);
  await putLoad({ ...load, ...first, calls: warmUpCalls });
  const processes = Object.entries(contender.processes);
  const sum = (pids: readonly number[], of: (pid: number) => number) =>
    pids.reduce((total, pid) => total + of(pid), 0);
  const before = processes.map(([, pids]) => sum(pids, exactCpuUsOfTree));
  const result = await putLoad({ ...load, ...sent, ...amount });
  const cpu = processes.map(([name, pids], index) => {
    const us = (sum(pids, exactCpuUsOfTree) - before[index]!) / result.calls;
    return [name, us] as const;
  });
  return {
    rate: result.perS,
    p50: result.p50Ms,
    p99: result.p99Ms,
    CPU: cpu.reduce((total, [, us]) => total + us, 0),
    ...Object.fromEntries(cpu),
    memory: processes.reduce((total, [, pids]) => total + sum(pids, residentMbOfTree), 0),
  };
}
