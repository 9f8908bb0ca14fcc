import { randomBytes } from "node:crypto";
import { Client } from "pg";
import { toolPath } from "../../../deploy/local/tools.ts";
import type { Bench, Suite } from "./bench.ts";
import { type Contender, measure, type Recipe, startContender, warmUp } from "./contender.ts";
import { crossings, type Point } from "./crossing.ts";
import { inTurn, type Rounds } from "./inTurn.ts";
import { startPeer } from "./peers/start.ts";
import { carried, carriedName, NAMES, passing, stored, storedName } from "./recipes.ts";
import { median, numeral } from "./results/figures.ts";
import { postgresStore, redisStore } from "./stores.ts";
import { wireBytes } from "./wire.ts";

/** Sizes of a state, in bytes. */
const SIZES = [100, 400, 1500, 2600, 4096, 10_000, 25_000, 64_000];
/** The waybill of a larger state exceeds the metadata limit. */
const MOST_IN_METADATA = 2600;
const SATURATED_S = 2.5;
const MOST_CALLS = 20_000;
const PACE_PER_S = 500;
const PACE_S = 2;
const WIRE_CALLS = 500;
const WARM_UP_BYTES = 32 * 2 ** 20;

const CARRIED_METADATA = carriedName("Advance", "waybill");
const CARRIED_MESSAGE = carriedName("Advance", "message");
const REDIS = storedName("redis", "Advance");

/** Measures of each contender and size, and their table titles. */
const MEASURES = {
  CPU: { what: "CPU of all processes", unit: "µs" },
  p50: { what: `p50, ${PACE_PER_S} calls a second`, unit: "ms" },
  client: { what: "on the wire between client and service, both ways", unit: "bytes" },
  wire: { what: "on the wire, with traffic between service and store", unit: "bytes" },
} as const;

type Measured = Record<keyof typeof MEASURES, number[]>;

/** By contender, then by size. */
type Found = Map<string, Map<number, Measured>>;

export const size: Suite = {
  about:
    "Cost of an advance by the size of its state: carried in metadata or in a message, spilled to Postgres, or in Redis.",
  async run(bench) {
    if (toolPath("waybill-load") === undefined || toolPath("waybill-relay") === undefined) {
      bench.results.leftOut("everything", "the load generator and the relay need Go");
      return;
    }
    const { recipes, forget } = await makeRecipes(bench);
    const contenders: Contender[] = [];
    for (const recipe of recipes) {
      bench.step(`starting ${recipe.name}`);
      contenders.push(await startContender(bench, recipe));
    }
    const found: Found = new Map(recipes.map(({ name }) => [name, new Map()]));
    for (const bytes of SIZES) {
      await measureSize(bench, bytes, contenders, found);
      await forget();
    }
    report(bench, found);
  },
};

async function makeRecipes(bench: Bench) {
  const key = randomBytes(32).toString("base64url");
  const redis = await redisStore(bench);
  const postgres = await postgresStore(bench);
  const settings = { key, ...postgres.settings(postgres.address) };
  const start = (what: string, told: typeof settings | { key: string }) =>
    bench.own(what, startPeer("waybill", told), (each) => each.end());
  const mint = await start("the mint", { key });
  // Another replica, whose states are not in the measured replica's cache.
  const other = await start("the other replica", settings);
  const at = { size: 0, beganAt: mint.address };
  const recipes: Recipe[] = [
    passing("Advance", "waybill", at),
    passing("Advance", "message", at),
    carried("Advance", "waybill", { size: 0, key }),
    carried("Advance", "message", { size: 0, key }),
    ...(redis ? [stored("redis", "Advance", { size: 0, store: redis })] : []),
    {
      ...{ name: NAMES.spilled, kind: "waybill", settings: { key }, store: postgres },
      ...({ method: "Advance", carrier: "waybill", size: 0 } as const),
      ...{ isSpent: true, beganAt: other.address },
    },
  ];
  const { store: url } = postgres.settings(postgres.address);
  const forget = async () => {
    const client = new Client({ connectionString: url! });
    await client.connect();
    await client.query("TRUNCATE bench.spill");
    await client.end();
  };
  return { recipes, forget };
}

async function measureSize(
  bench: Bench,
  bytes: number,
  all: readonly Contender[],
  found: Found,
): Promise<void> {
  const contenders = all.filter((each) => fits(each, bytes)).map((each) => sized(each, bytes));
  const calls = new Map<string, number>();
  const wire = new Map<string, { client: number; wire: number }>();
  for (const each of contenders) {
    const most = Math.min(5000, Math.max(500, Math.round(WARM_UP_BYTES / bytes)));
    const perS = await warmUp(bench, each, most);
    calls.set(each.name, bench.calls(Math.min(MOST_CALLS, Math.ceil(perS * SATURATED_S))));
    bench.step(`${bytes} bytes: bytes on the wire: ${each.name}`);
    const { client, store = 0 } = await wireBytes(bench, each, bench.calls(WIRE_CALLS));
    wire.set(each.name, { client, wire: client + store });
  }
  const rounds = await inTurn(bench, `${bytes} bytes: `, contenders, async (each) => {
    const { CPU } = await measure(each, { calls: calls.get(each.name)! });
    const paced = { calls: bench.calls(PACE_PER_S * PACE_S), perS: PACE_PER_S };
    const { p50 } = await measure(each, paced);
    return { CPU: CPU!, p50: p50! };
  });
  for (const [name, { CPU, p50 }] of rounds as Map<string, Rounds>) {
    const { client, wire: both } = wire.get(name)!;
    found.get(name)!.set(bytes, { CPU: CPU!, p50: p50!, client: [client], wire: [both] });
  }
}

/** Selects sizes: states that fit metadata do not spill; larger ones are not carried in metadata. */
function fits({ name, carrier }: Contender, bytes: number): boolean {
  if (name === NAMES.spilled) return bytes > MOST_IN_METADATA;
  return carrier !== "waybill" || bytes <= MOST_IN_METADATA;
}

/** Size of the text in a state; the counter takes a few bytes. */
function sized(contender: Contender, bytes: number): Contender {
  return { ...contender, size: bytes - 5 };
}

function report(bench: Bench, found: Found): void {
  for (const [measured, { what, unit }] of Object.entries(MEASURES)) {
    bench.results.table(
      what,
      SIZES.map((bytes) => ({ name: `${numeral(bytes)} B`, unit })),
      Array.from(found, ([name, bySize]) => [
        name,
        Object.fromEntries(
          Array.from(bySize, ([bytes, each]) => [
            `${numeral(bytes)} B`,
            each[measured as keyof typeof MEASURES],
          ]),
        ),
      ]),
    );
    bench.results.plot({
      ...{ file: measured, kind: "lines", title: what, across: "bytes of state", up: unit },
      series: Array.from(found.keys(), (name) => ({
        name,
        points: pointsOf(found, name, measured as keyof typeof MEASURES),
      })),
    });
  }
  for (const [first, second] of [
    [CARRIED_METADATA, CARRIED_MESSAGE],
    [CARRIED_MESSAGE, NAMES.spilled],
    [CARRIED_METADATA, REDIS],
    [CARRIED_MESSAGE, REDIS],
    [NAMES.spilled, REDIS],
  ] as const) {
    if (found.has(first) && found.has(second)) bench.results.note(comparison(found, first, second));
  }
  for (const text of limits(found)) bench.results.note(text);
}

function pointsOf(found: Found, name: string, measured: keyof typeof MEASURES): Point[] {
  return Array.from(found.get(name)!, ([at, each]) => ({ at, value: median(each[measured]) }));
}

/** Compares two contenders at their smallest and largest common sizes, with the crossing. */
function comparison(found: Found, first: string, second: string): string {
  const clauses = (["CPU", "p50", "wire"] as const).map((measured) => {
    const [one, two] = [pointsOf(found, first, measured), pointsOf(found, second, measured)];
    const shared = one.filter(({ at }) => two.some((each) => each.at === at));
    const ratio = ({ at, value }: Point) => value / two.find((each) => each.at === at)!.value;
    const [least, most] = [shared[0]!, shared.at(-1)!];
    const crossed = crossings(one, two).map(
      ({ at, isDearerAfter }) => `${isDearerAfter ? "more" : "less"} from ${numeral(at)} B on`,
    );
    const ends = `${numeral(ratio(least))} × at ${numeral(least.at)} B, ${numeral(ratio(most))} × at ${numeral(most.at)} B`;
    const how = crossed.length > 0 ? crossed.join(", ") : "no crossing";
    return `${measured === "wire" ? "bytes" : measured} ${ends} (${how})`;
  });
  return `${first} / ${second}: ${clauses.join("; ")}.`;
}

/** Notes about the carriers' limits, above which a state spills. */
function limits(found: Found): string[] {
  const cpu = (name: string, at: number) => median(found.get(name)!.get(at)!.CPU);
  const beyond = SIZES.find((bytes) => bytes > MOST_IN_METADATA)!;
  const metadata = cpu(CARRIED_METADATA, MOST_IN_METADATA);
  const spilled = cpu(NAMES.spilled, beyond);
  const last = SIZES.at(-1)!;
  const crossed = crossings(
    pointsOf(found, CARRIED_MESSAGE, "CPU"),
    pointsOf(found, NAMES.spilled, "CPU"),
  ).filter(({ isDearerAfter }) => isDearerAfter);
  const byMessage =
    crossed.length === 0
      ? `up to ${numeral(last)} B a state costs less CPU in the message than spilled: spilling earlier than the limit of 64 KiB would cost more`
      : `from ${numeral(crossed[0]!.at)} B on a state costs less CPU spilled than in the message: the limit of 64 KiB lies above that`;
  const byMetadata =
    metadata < spilled
      ? "spilling earlier than the limit of 4,096 characters would cost more"
      : "the limit of 4,096 characters lies above where spilling costs less";
  return [
    `Metadata: a state of ${numeral(MOST_IN_METADATA)} B, about the largest in 4,096 characters, costs ${numeral(metadata)} µs of CPU, and one of ${numeral(beyond)} B that spills ${numeral(spilled)}: ${byMetadata}.`,
    `Message: ${byMessage}.`,
    "A spilled state was stored by another replica and is new after the advance: read from Postgres and written, the most expensive case. A replica that has cached it does not read it.",
  ];
}
