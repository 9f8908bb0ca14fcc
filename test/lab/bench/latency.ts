import { randomBytes } from "node:crypto";
import { toolPath } from "../../../deploy/local/tools.ts";
import type { Bench, Suite } from "./bench.ts";
import { type Contender, measure, type Recipe, startContender, warmUp } from "./contender.ts";
import { ADDED_MS, type Delayed, delayed } from "./delayed.ts";
import { inTurn, type Rounds } from "./inTurn.ts";
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
import { postgresStore, redisStore } from "./stores.ts";

const SIZE = 195;
/** Low load: calls wait only for their own store. */
const PACE_PER_S = 200;
const PACE_S = 4;

export const latency: Suite = {
  about: `Latency of a call, ${PACE_PER_S} a second, with Redis and Postgres at ${ADDED_MS} ms of network latency.`,
  async run(bench) {
    if (toolPath("waybill-load") === undefined || toolPath("waybill-relay") === undefined) {
      bench.results.leftOut("everything", "the load generator and the relay need Go");
      return;
    }
    const redis = await redisStore(bench);
    bench.step("setting the relays");
    const away = {
      Redis: redis && (await delayed(bench, redis)),
      Postgres: await delayed(bench, await postgresStore(bench)),
    };
    const added: Record<string, number[]> = {};
    const weigh = async () => {
      for (const [name, each] of Object.entries(away)) {
        if (each !== undefined) added[name] = [...(added[name] ?? []), await each.addedMs()];
      }
    };
    await weigh();
    const contenders: Contender[] = [];
    for (const recipe of await makeRecipes(bench, away.Redis, away.Postgres)) {
      bench.step(`starting ${recipe.name}`);
      contenders.push(await startContender(bench, recipe));
    }
    for (const each of contenders) await warmUp(bench, each);
    const calls = bench.calls(PACE_PER_S * PACE_S);
    const found = await inTurn(bench, "", contenders, (each) =>
      measure(each, { calls, perS: PACE_PER_S }),
    );
    report(bench, found);
    await weigh();
    bench.results.list("latency that a relay adds, before and after", "ms", added);
    bench.results.note(
      `A relay process before each store delays both directions so that an empty request (PING, SELECT 1) takes ${ADDED_MS} ms longer. It does not limit throughput.`,
    );
  },
};

async function makeRecipes(
  bench: Bench,
  redis: Delayed | undefined,
  postgres: Delayed,
): Promise<Recipe[]> {
  const key = randomBytes(32).toString("base64url");
  const mint = await bench.own("the mint", startPeer("waybill", { key }), (each) => each.end());
  const size = SIZE;
  const methods = ["Read", "Advance"] as const;
  return [
    ...methods.map((method) => passing(method, "waybill", { size, beganAt: mint.address })),
    ...methods.map((method) => carried(method, "waybill", { size, key })),
    ...(redis
      ? methods.map((method) => stored("redis", method, { size, store: redis.store }))
      : []),
    ...methods.map((method) => stored("postgres", method, { size, store: postgres.store })),
    {
      ...({ kind: "anchored", service: "AnchoredService", method: "Advance" } as const),
      ...({ carrier: "waybill", isSpent: true } as const),
      ...{ name: NAMES.anchored, settings: { key }, store: postgres.store, size },
    },
  ];
}

function report(bench: Bench, found: ReadonlyMap<string, Rounds>): void {
  const less = (other: string, name: string, at = "p50") =>
    found.get(other)![at]!.map((each, round) => each - found.get(name)![at]![round]!);
  const overFloor = Array.from(found, ([name, rounds]) => {
    const floor = passingName(name.includes(": read") ? "Read" : "Advance", "waybill");
    return [name, { ...rounds, "over the fair floor": less(name, floor) }] as const;
  });
  bench.results.table(
    `${PACE_PER_S} calls a second`,
    ["p50", "over the fair floor", "p99"].map((name) => ({ name, unit: "ms" })),
    overFloor,
  );
  for (const [kind, name] of [
    ["redis", "Redis: GET and SETEX"],
    ["postgres", "Postgres: SELECT and upsert"],
  ] as const) {
    const other = storedName(kind, "Advance");
    if (!found.has(other)) continue;
    bench.results.goal(
      `p50 of an advance, saved by Waybill against ${name}`,
      less(other, carriedName("Advance", "waybill")),
      { unit: "ms", atLeast: 2 * ADDED_MS },
    );
  }
}
