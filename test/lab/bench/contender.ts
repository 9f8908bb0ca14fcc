import type { Bench } from "./bench.ts";
import { putLoad } from "./load.ts";
import { beginSessions, type Carrier, type SERVICES, type Sent } from "./peers/beginSessions.ts";
import type { PeerSettings } from "./peers/peer.ts";
import { startPeer } from "./peers/start.ts";
import { PROTOSET } from "./peers/waybillSession.ts";
import { exactCpuUsOfTree, residentMbOfTree } from "./processTimes.ts";
import type { Measure } from "./results/results.ts";

/** Right before it is measured: a process that was idle for seconds is dearer at first. */
const WARM_UP_CALLS = 1500;
/** Once, before the first round: what is compiled is compiled by then. */
const FIRST_CALLS = 5000;
/** A pool of so many is different for each call, as far as header compression reaches. */
const MOST_POOLED = 1000;
const MOST_POOLED_BYTES = 4 * 2 ** 20;

/** Where a peer keeps its sessions. */
export interface Store {
  /** Host and port. */
  readonly address: string;
  /** What tells the peer of it, by an address that leads there. */
  readonly settings: (address: string) => PeerSettings;
  /** The processes that work for it, by name. */
  readonly processes: Processes;
}

/** Numbers of processes, by what they are; CPU and memory are of what they have started, too. */
export type Processes = Readonly<Record<string, readonly number[]>>;

/** A way to keep sessions, and the call that is measured of it. */
export interface Recipe {
  readonly name: string;
  /** Of the peer. */
  readonly kind: string;
  readonly settings?: PeerSettings;
  readonly store?: Store | undefined;
  readonly service?: keyof typeof SERVICES;
  readonly method: "Begin" | "Read" | "Advance";
  /** Undefined: calls have no session. */
  readonly carrier?: Carrier;
  /** A session serves one call: its waybill is spent by that. */
  readonly isSpent?: boolean;
  /** Of its state, in bytes. */
  readonly size: number;
  /** Where its sessions are begun. Default: at the peer itself. */
  readonly beganAt?: string;
}

/** A peer that runs. */
export interface Contender extends Recipe {
  readonly address: string;
  /** All that take part in a call, by what they are. */
  readonly processes: Processes;
}

/** How much load, and how it comes. */
export interface Amount {
  readonly calls: number;
  /** A second. Default: as many as are answered. */
  readonly perS?: number;
  readonly connections?: number;
}

/** What is measured of each. CPU is of all its processes, and then of each. */
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

/** Makes a first round of calls. @returns how many were answered in a second */
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

/** Whom a load is put on. */
export function loadOf({ address, service = "CarriedService", method }: Contender) {
  const path = `waybill.bench.v1.${service}/${method}`;
  return { target: address, method: path, protoset: PROTOSET };
}

/** What calls of a contender send: begun now, so that none of it is old enough to be sealed anew. */
export function sessionsOf(contender: Contender, calls: number): Promise<Sent> {
  const { carrier, size, isSpent, service = "CarriedService" } = contender;
  if (carrier === undefined) return Promise.resolve({});
  const pooled = Math.min(calls, MOST_POOLED, Math.max(32, Math.ceil(MOST_POOLED_BYTES / size)));
  const count = isSpent ? calls : pooled;
  const at = contender.beganAt ?? contender.address;
  return beginSessions(at, { service, carrier, size, count });
}

/** Puts load on a contender, and takes what it has cost. @throws Error when a call has failed */
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
