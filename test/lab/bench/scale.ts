import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { envoyBinary } from "../../../deploy/local/envoy/envoyBinary.ts";
import { Children } from "../../../deploy/local/processes/children.ts";
import { toolPath } from "../../../deploy/local/tools.ts";
import { Failure } from "../../../services/replica/failure.ts";
import type { Bench, Suite } from "./bench.ts";
import { type Contender, loadOf, measure, sessionsOf, warmUp } from "./contender.ts";
import { type FrontProxy, startFrontProxy } from "./frontProxy.ts";
import { oneRound, type Rounds } from "./inTurn.ts";
import { putLoad } from "./load.ts";
import { type Peer, startPeer } from "./peers/start.ts";
import { count, median, numeral, ratios } from "./results/figures.ts";

const REPLICAS = [1, 2, 4, 8] as const;
const SIZE = 195;
/** Enough calls for the JIT compiler in each replica. */
const FIRST_CALLS_A_REPLICA = 20_000;
/** A rate that two cores carry with any number of replicas. */
const PACE_PER_S = 1500;
/** Differences are a few percent: many short runs, close together. */
const PACE_S = 2;
const PASSES = 4;
const SPREAD_CALLS = 60_000;
/** Replicas before one is added, and a load that lasts long enough to see it. */
const BEFORE = 2;
const ARRIVAL_PER_S = 1000;
const ARRIVAL_S = 6;
const ARRIVAL_LIMIT_S = 4;
/** Window for measuring a share, and the fraction of an even share that counts. */
const WINDOW_MS = 250;
const SHARE = 0.9;

interface Scaled extends Contender {
  readonly frontProxy: FrontProxy;
  readonly replicas: readonly Peer[];
}

export const scale: Suite = {
  about: `Cost of a carried advance behind a real Envoy, with 1 to 8 replicas that share ${PACE_PER_S} calls a second, and the distribution of the calls.`,
  async run(bench) {
    if (toolPath("waybill-load") === undefined) {
      bench.results.leftOut("everything", "the load generator needs Go");
      return;
    }
    if (!hasEnvoy(bench)) return;
    const key = randomBytes(32).toString("base64url");
    const folder = mkdtempSync(join(tmpdir(), "waybill-scale-"));
    await bench.own("the folder", folder, () => rmSync(folder, { recursive: true }));
    const children = await bench.own("the watchdog", new Children(), (each) => each.close());
    const mint = await bench.own("the mint", startPeer("waybill", { key }), (each) => each.end());
    const amount = { calls: bench.calls(PACE_PER_S * PACE_S), perS: PACE_PER_S };
    const passes = bench.isQuick ? 1 : PASSES;
    const found = new Map<string, Rounds>();
    const measureAnew = async (round: number) => {
      const contenders: Scaled[] = [];
      for (const count of REPLICAS) {
        for (const kind of ["passing", "waybill"] as const) {
          const own = { folder: join(folder, `${round}-${kind}-${count}`), kind, count, key };
          contenders.push(await startScaled(bench, children, own, mint.address));
        }
      }
      for (const each of contenders) {
        await warmUp(bench, each, FIRST_CALLS_A_REPLICA * each.replicas.length);
      }
      const asked = { what: "", round, passes };
      await oneRound(bench, asked, contenders, (each) => measure(each, amount), found);
      return contenders;
    };
    for (let round = 1; round < bench.rounds; round += 1) {
      await bench.during(() => measureAnew(round));
    }
    const contenders = await measureAnew(bench.rounds);
    reportCost(bench, found);
    if (passes > 1) {
      bench.results.note(
        `Each round starts new processes: differences in how Node compiles them exceed the differences under test. A round's cost is the mean of ${passes} runs of ${PACE_S} s in alternating order.`,
      );
    }
    await spreads(bench, contenders);
    await arrivals(bench, contenders.find(({ name }) => name === nameOf("waybill", BEFORE))!, key);
  },
};

function hasEnvoy(bench: Bench): boolean {
  try {
    envoyBinary((line) => bench.step(line));
    return true;
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    bench.results.leftOut("everything", "there is no Envoy that runs here");
    return false;
  }
}

function nameOf(kind: "passing" | "waybill", count: number): string {
  const replicas = count === 1 ? "1 replica" : `${count} replicas`;
  return `${kind === "passing" ? "fair floor" : "Waybill"}, ${replicas}`;
}

interface Own {
  readonly folder: string;
  readonly kind: "passing" | "waybill";
  readonly count: number;
  readonly key: string;
}

/** Starts replicas of one kind behind their own front proxy. */
async function startScaled(
  bench: Bench,
  children: Children,
  { folder, kind, count, key }: Own,
  beganAt: string,
): Promise<Scaled> {
  const name = nameOf(kind, count);
  bench.step(`starting ${name}`);
  const replicas: Peer[] = [];
  for (let number = 1; number <= count; number += 1) {
    replicas.push(await bench.own("a replica", startPeer(kind, { key }), (each) => each.end()));
  }
  const starting = startFrontProxy(children, folder);
  const frontProxy = await bench.own("Envoy", starting, (each) => each.end());
  await frontProxy.sendTo(replicas.map(({ address }) => address));
  const { address } = frontProxy;
  const processes = { services: replicas.map(({ pid }) => pid), Envoy: [frontProxy.pid] };
  const call = { method: "Advance", carrier: "waybill", size: SIZE } as const;
  return { name, kind, ...call, beganAt, address, frontProxy, replicas, processes };
}

function reportCost(bench: Bench, found: ReadonlyMap<string, Rounds>): void {
  const overFloor = new Map(
    REPLICAS.map((count) => {
      const [floor, own] = (["passing", "waybill"] as const).map(
        (kind) => found.get(nameOf(kind, count))!["CPU"]!,
      );
      return [count, ratios(own!, floor!)] as const;
    }),
  );
  const rows = Array.from(found, ([name, rounds]) => {
    const count = REPLICAS.find((each) => name === nameOf("waybill", each));
    const own: Rounds = count === undefined ? {} : { "of the fair floor": overFloor.get(count)! };
    return [name, { ...rounds, ...own }] as const;
  });
  bench.results.table(
    `${PACE_PER_S} calls a second over all replicas, through Envoy`,
    [
      { name: "of the fair floor", unit: "× CPU" },
      { name: "CPU", unit: "µs a call" },
      { name: "services", unit: "µs" },
      { name: "Envoy", unit: "µs" },
      { name: "rate", unit: "calls/s" },
      { name: "p50", unit: "ms" },
      { name: "p99", unit: "ms" },
      { name: "memory", unit: "MB" },
    ],
    rows,
  );
  bench.results.goal(
    "CPU / fair floor, with 8 replicas / with 1",
    ratios(overFloor.get(8)!, overFloor.get(1)!),
    { unit: "×", atMost: 1.05 },
  );
  bench.results.plot({
    ...{ file: "cost", kind: "lines", title: "CPU of a call by the number of replicas" },
    ...{ across: "replicas", up: "µs of CPU a call" },
    series: (["passing", "waybill"] as const).map((kind) => ({
      name: kind === "passing" ? "fair floor" : "Waybill",
      points: REPLICAS.map((count) => ({
        at: count,
        value: median(found.get(nameOf(kind, count))!["CPU"]!),
      })),
    })),
  });
}

/** Measures how far each replica's share of the calls is from an even share. */
async function spreads(bench: Bench, contenders: readonly Scaled[]): Promise<void> {
  const calls = bench.calls(SPREAD_CALLS);
  const shares: Record<string, number[]> = {};
  for (const each of contenders.filter(({ kind }) => kind === "waybill")) {
    const { name, frontProxy, replicas } = each;
    if (replicas.length === 1) continue;
    bench.step(`spread: ${name}`);
    const sent = await sessionsOf(each, calls);
    const before = await frontProxy.sent();
    await putLoad({ ...loadOf(each), ...sent, calls, perS: PACE_PER_S });
    const after = await frontProxy.sent();
    shares[name] = replicas.map(({ address }) => {
      const own = after.get(address)! - before.get(address)!;
      return ((own * replicas.length) / calls - 1) * 100;
    });
  }
  bench.results.list("a replica's deviation from an even share of calls", "%", shares);
  const worst = Math.max(...Object.values(shares).flat().map(Math.abs));
  bench.results.goal("largest deviation from an even share", [worst], { unit: "%", atMost: 5 });
  const most = Math.max(...REPLICAS);
  const byChance = 200 * Math.sqrt((most - 1) / calls);
  bench.results.note(
    `If chance alone spread ${count(calls)} calls over ${most} replicas, one share in twenty would be ${numeral(byChance)} % or more from an even share.`,
  );
}

/** Adds a replica while calls continue on existing connections. */
async function arrivals(bench: Bench, before: Scaled, key: string): Promise<void> {
  const found = { started: [] as number[], listed: [] as number[] };
  for (let round = 1; round <= bench.rounds; round += 1) {
    bench.step(`one replica added to ${BEFORE} replicas, under load`, round);
    const { started, listed } = await bench.during(() => arrival(bench, before, key));
    found.started.push(started);
    found.listed.push(listed);
  }
  bench.results.list(`one replica added to ${BEFORE} until it takes its share`, "s", {
    "from its start": found.started,
    "from its announcement to the front proxy": found.listed,
  });
  bench.results.goal("a new replica takes its share of existing connections", found.listed, {
    unit: "s",
    atMost: 2,
  });
  bench.results.note(
    `A new replica has its share when, within ${WINDOW_MS} ms, it receives ${SHARE * 100} % of an even share. The measurement gives up after ${ARRIVAL_LIMIT_S} s.`,
  );
}

async function arrival(bench: Bench, before: Scaled, key: string) {
  const { frontProxy, replicas } = before;
  const old = replicas.map(({ address }) => address);
  const calls = ARRIVAL_PER_S * ARRIVAL_S;
  const sent = await sessionsOf(before, calls);
  const load = putLoad({ ...loadOf(before), ...sent, calls, perS: ARRIVAL_PER_S });
  // Awaited below; an early rejection must not end the process.
  load.catch(() => {});
  await delay(1000);
  const startedAt = performance.now();
  const added = await bench.own("a new replica", startPeer("waybill", { key }), (each) =>
    each.end(),
  );
  const listedAt = performance.now();
  frontProxy.announce([...old, added.address]);
  const at = await untilItsShare(frontProxy, added.address, startedAt, old.length + 1);
  await load;
  await frontProxy.sendTo(old);
  return { started: (at - startedAt) / 1000, listed: (at - listedAt) / 1000 };
}

/** @returns the time of that, or of giving up */
async function untilItsShare(
  frontProxy: FrontProxy,
  address: string,
  startedAt: number,
  replicas: number,
): Promise<number> {
  let last = await frontProxy.sent();
  for (;;) {
    await delay(WINDOW_MS);
    const now = await frontProxy.sent();
    const at = performance.now();
    const gained = new Map(
      Array.from(now, ([each, calls]) => [each, calls - (last.get(each) ?? 0)]),
    );
    const all = Array.from(gained.values()).reduce((sum, each) => sum + each, 0);
    const share = (gained.get(address) ?? 0) / all;
    if (share >= SHARE / replicas || at - startedAt > ARRIVAL_LIMIT_S * 1000) return at;
    last = now;
  }
}
