import { randomBytes } from "node:crypto";
import { toolPath } from "../../../deploy/local/tools.ts";
import type { Bench, Suite } from "./bench.ts";
import {
  type Contender,
  LOAD_MEASURES,
  measure,
  type Recipe,
  startContender,
  warmUp,
} from "./contender.ts";
import { oneRound, type Rounds } from "./inTurn.ts";
import type { Carrier } from "./peers/beginSessions.ts";
import { startPeer } from "./peers/start.ts";
import {
  carried,
  carriedName,
  NAMES,
  passing,
  passingName,
  stored,
  storedName,
} from "./recipes.ts";
import { median, numeral, ratios } from "./results/figures.ts";
import { postgresStore, redisStore, sessionServiceStore } from "./stores.ts";
import { wireBytes } from "./wire.ts";

const SIZE = 200;
/** Size of `Basket` without its lines. */
const LINES_SIZE = SIZE - 5;
const CALLS = 20_000;
/** Enough calls for the JIT compiler. */
const FIRST_CALLS = 10_000;
/** Below saturation, as in normal operation. */
const PACE_PER_S = 2000;
const PACE_S = 2.5;
const KEEPS_PACE = 0.95;
const WIRE_CALLS = 2000;

const METHODS = ["Read", "Advance"] as const;
/** ioredis with its default, and with auto-pipelining, which is cheapest under load. */
const REDISES = ["redis", "pipelined"] as const;
const CARRIERS = ["waybill", "message"] as const;

export const call: Suite = {
  about: `Cost of one session call with a state of ${SIZE} bytes in every design, one service process each.`,
  async run(bench) {
    if (toolPath("waybill-load") === undefined || toolPath("waybill-relay") === undefined) {
      bench.results.leftOut("everything", "the load generator and the relay need Go");
      return;
    }
    const recipes = await makeRecipes(bench);
    const wire = new Map<string, Rounds>();
    for (const recipe of recipes) {
      bench.step(`bytes on the wire: ${recipe.name}`);
      const bytes = await wireBytes(bench, recipe, bench.calls(WIRE_CALLS));
      wire.set(
        recipe.name,
        Object.fromEntries(Object.entries(bytes).map(([name, each]) => [name, [each]])),
      );
    }
    const saturated = new Map<string, Rounds>();
    const paced = new Map<string, Rounds>();
    for (let round = 1; round <= bench.rounds; round += 1) {
      await bench.during(() => measureAnew(bench, recipes, round, saturated, paced));
    }
    const measures = [{ name: "of the fair floor", unit: "× CPU" }, ...LOAD_MEASURES];
    bench.results.table(
      "saturated: 32 in flight, 4 connections",
      measures,
      againstFloor(saturated),
    );
    bench.results.table(`paced: ${PACE_PER_S} calls a second`, measures, againstFloor(paced));
    bench.results.table(
      "on the wire, both ways together",
      [
        { name: "client", unit: "bytes a call" },
        { name: "store", unit: "bytes a call" },
      ],
      wire,
    );
    report(bench, saturated);
    bench.results.note(
      "Each round starts new processes: differences in how Node compiles them exceed the differences under test.",
    );
    for (const [name, { rate }] of paced) {
      if (median(rate!) > PACE_PER_S * KEEPS_PACE) continue;
      bench.results.note(
        `${name} did not keep the pace: ${numeral(median(rate!))} calls a second.`,
      );
    }
    draw(bench, "saturated", saturated);
    draw(bench, "paced", paced);
  },
};

/** Runs one round with new processes. */
async function measureAnew(
  bench: Bench,
  recipes: readonly Recipe[],
  round: number,
  saturated: Map<string, Rounds>,
  paced: Map<string, Rounds>,
): Promise<void> {
  const contenders: Contender[] = [];
  for (const recipe of recipes) {
    bench.step(`starting ${recipe.name}`, round);
    contenders.push(await startContender(bench, recipe));
  }
  for (const each of contenders) await warmUp(bench, each, FIRST_CALLS);
  const all = { calls: bench.calls(CALLS) };
  const some = { calls: bench.calls(PACE_PER_S * PACE_S), perS: PACE_PER_S };
  const measured = { what: "saturated: ", round };
  await oneRound(bench, measured, contenders, (each) => measure(each, all), saturated);
  const slower = { what: "paced: ", round };
  await oneRound(bench, slower, contenders, (each) => measure(each, some), paced);
}

async function makeRecipes(bench: Bench): Promise<Recipe[]> {
  const key = randomBytes(32).toString("base64url");
  const [redis, postgres] = [await redisStore(bench), await postgresStore(bench)];
  const sessionService = await sessionServiceStore(bench);
  const size = LINES_SIZE;
  const mint = await bench.own("the mint", startPeer("waybill", { key }), (each) => each.end());
  const both = (make: (method: "Read" | "Advance", carrier: Carrier) => Recipe) =>
    METHODS.flatMap((method) => CARRIERS.map((carrier) => make(method, carrier)));
  const anchored = {
    ...({ kind: "anchored", service: "AnchoredService", method: "Advance" } as const),
    ...({ carrier: "waybill", settings: { key }, isSpent: true, size } as const),
  };
  return [
    { name: NAMES.floor, kind: "floor", method: "Advance", size },
    ...both((method, carrier) => passing(method, carrier, { size, beganAt: mint.address })),
    ...both((method, carrier) => carried(method, carrier, { size, key })),
    ...REDISES.flatMap((kind) =>
      redis ? METHODS.map((method) => stored(kind, method, { size, store: redis })) : [],
    ),
    ...METHODS.map((method) => stored("postgres", method, { size, store: postgres })),
    ...(["iron", "jose"] as const).map((kind) => ({
      ...{ name: NAMES[kind], kind, settings: { key }, size },
      ...({ method: "Advance", carrier: "session" } as const),
    })),
    { ...anchored, name: NAMES.anchored, store: postgres },
    { ...anchored, name: NAMES.anchoredElsewhere, store: sessionService },
  ];
}

/** Adds the CPU relative to the fair floor of the same call. */
function againstFloor(found: ReadonlyMap<string, Rounds>): Map<string, Rounds> {
  return new Map(
    Array.from(found, ([name, rounds]) => {
      const method = name.includes(": read") ? "Read" : "Advance";
      const carrier = name.endsWith(", message") ? "message" : "waybill";
      const floor = found.get(passingName(method, carrier))!["CPU"]!;
      return [name, { ...rounds, "of the fair floor": ratios(rounds["CPU"]!, floor) }];
    }),
  );
}

/** Reports the goals of saturated services. */
function report(bench: Bench, found: ReadonlyMap<string, Rounds>): void {
  const against = (measured: string, name: string, other: string) =>
    ratios(found.get(name)![measured]!, found.get(other)![measured]!);
  for (const [method, atMost] of [
    ["Advance", 1.25],
    ["Read", 1.08],
  ] as const) {
    for (const carrier of CARRIERS) {
      const name = carriedName(method, carrier);
      const floor = passingName(method, carrier);
      bench.results.goal(`CPU, ${name} / ${floor}`, against("CPU", name, floor), {
        ...{ unit: "×", atMost },
      });
    }
  }
  for (const [method, kind] of METHODS.flatMap((each) =>
    REDISES.map((kind) => [each, kind] as const),
  )) {
    const [name, other] = [carriedName(method, "waybill"), storedName(kind, method)];
    if (!found.has(other)) continue;
    bench.results.goal(`CPU of all processes, ${name} / ${other}`, against("CPU", name, other), {
      ...{ unit: "×", atMost: 0.7 },
    });
    bench.results.goal(
      `calls/s of a service process, ${name} / ${other}`,
      against("rate", name, other),
      { unit: "×", atLeast: 1.25 },
    );
  }
  bench.results.note(
    "CPU is the sum of all processes that take part in a call, without the load generator. The fair floor passes the same waybill through untouched; reads return none.",
  );
  bench.results.note(
    "The load generator shares the machine's cores with the processes that it measures: a service alone would serve more calls a second.",
  );
  bench.results.note(
    "Redis uses ioredis with its defaults. Auto-pipelining sends the commands of concurrent calls together, which helps only under load.",
  );
  bench.results.note(
    "On the wire: TCP payload, counted by a relay in a separate run, without the traffic between the session service and its Postgres.",
  );
}

function draw(bench: Bench, kind: string, found: ReadonlyMap<string, Rounds>): void {
  const parts = ["service", "session service", "Redis", "Postgres"];
  bench.results.plot({
    ...{ file: kind, kind: "bars", across: "", up: "µs of CPU a call" },
    title: `CPU of a call, by process, ${kind}`,
    series: parts.map((part) => ({
      name: part,
      points: Array.from(found, ([name, rounds]) => ({ name, figures: rounds[part] }))
        .filter(({ figures }) => figures !== undefined)
        .map(({ name, figures }) => ({ at: name, value: median(figures!) })),
    })),
  });
}
