import { randomInt } from "node:crypto";
import { toolPath } from "../../../deploy/local/tools.ts";
import { seededRandom } from "../../support/random.ts";
import type { Bench, Suite } from "./bench.ts";
import { byClient, byLoad, READ_MEASURES, type Reading } from "./catalog/contenders.ts";
import {
  drawReads,
  GET_ALONE,
  type Mix,
  type Random,
  SHOP_FRONT,
  SHOP_FRONT_TEXT,
} from "./catalog/reads.ts";
import { type RunningCatalog, startCatalog } from "./catalog/startCatalog.ts";
import { type Counted, readUnderChange } from "./catalog/underChange.ts";
import { inTurn, type Rounds } from "./inTurn.ts";
import { count, median, ratios } from "./results/figures.ts";

const CALLS = 20_000;
/** Where more of them miss: there are only so many products to be read once. */
const CALLS_THAT_MISS = 4000;
/** What is asked again and again, of each kind. */
const HOT = { get: 600, list: 200, batch: 200 };
/** Of the reads, in per cent. */
const HITS = [0, 50, 90, 99];
const GOAL_HITS = 90;
const AIM = { unit: "×", atLeast: 5 };
const PHASES = 4;
const CHANGES_A_PHASE = 250;

const NAMES = {
  served: (hits: number) => `no cache, ${hits}% again`,
  cached: (hits: number) => `cache of the service, ${hits}% again`,
  servedGet: "GetProduct alone, no cache",
  cachedGet: "GetProduct alone, cache of the service",
  client: "client: no cache",
  clientCached: "client: cache of its own",
  clientServed: "client: cache of the service",
  clientBoth: "client: cache of its own and of the service",
  clientGet: "client: GetProduct alone, no cache",
  clientCachedGet: "client: GetProduct alone, cache of its own",
};

export const cache: Suite = {
  about:
    "A catalog that is read far more than it is changed, with and without answers that are kept: by the service, and by its client.",
  async run(bench) {
    if (toolPath("waybill-load") === undefined) {
      bench.results.leftOut("all of it", "the load generator needs Go");
      return;
    }
    const { random, seed } = seeded();
    const bare = await startCatalog(bench, false);
    const caching = await startCatalog(bench, true);
    const readings = await makeReadings(bench, random, bare, caching);
    for (const each of readings) {
      if (each.isFirst) {
        bench.step(`warming up ${each.name}`);
        await each.measure();
      }
    }
    const found = await inTurn(bench, "", readings, (each) => each.measure());
    report(bench, found);
    bench.results.note(
      `The reads: ${SHOP_FRONT_TEXT}. ${hotText(bench)} of them are asked again and again; each other read is made once, of the same sort. All contenders make the same reads in the same order, of the seed ${seed} (SEED in the environment).`,
    );
    bench.results.note(
      "32 reads in flight: by the load generator on 4 connections, by a client on one. Before each run what was kept is dropped, and what is asked again and again is read anew. A hit is an answer that came with its age or, of a client, that its cache has counted.",
    );
    bench.results.note(
      "CPU is of all processes named, but for the load generator, which shares the machine's cores with them: reads a second are fewer than a service alone would answer.",
    );
    await underChange(bench, random, caching);
  },
};

function seeded(): { random: Random; seed: string } {
  // For the report.
  const seed = process.env["SEED"] ?? `${randomInt(2 ** 32)}`;
  process.env["SEED"] = seed;
  return { random: seededRandom(), seed };
}

function hotCounts(bench: Bench): typeof HOT {
  return { get: bench.calls(HOT.get), list: bench.calls(HOT.list), batch: bench.calls(HOT.batch) };
}

function hotText(bench: Bench): string {
  const { get, list, batch } = hotCounts(bench);
  return `${count(get)} of GetProduct, ${count(list)} of ListProducts and ${count(batch)} of BatchGetProducts`;
}

/** @returns all, in turn; `isFirst`: the first one of its processes */
async function makeReadings(
  bench: Bench,
  random: Random,
  bare: RunningCatalog,
  caching: RunningCatalog,
): Promise<(Reading & { isFirst?: boolean })[]> {
  const draw = (mix: Mix, hitPercent: number) =>
    drawReads(random, mix, hotCounts(bench), {
      calls: bench.calls(hitPercent < GOAL_HITS ? CALLS_THAT_MISS : CALLS),
      hitPercent,
    });
  const byHits = HITS.map((hits) => [hits, draw(SHOP_FRONT, hits)] as const);
  const [, front] = byHits.find(([hits]) => hits === GOAL_HITS)!;
  const single = draw(GET_ALONE, GOAL_HITS);
  bench.step("starting clients");
  const client = await byClient(bench, bare, "none");
  const clientCached = await byClient(bench, bare, "cache");
  const clientServed = await byClient(bench, caching, "none");
  const clientBoth = await byClient(bench, caching, "cache");
  return [
    ...byHits.flatMap(([hits, reads]) => [
      { ...byLoad(NAMES.served(hits), bare, reads), isFirst: hits === GOAL_HITS },
      { ...byLoad(NAMES.cached(hits), caching, reads), isFirst: hits === GOAL_HITS },
    ]),
    byLoad(NAMES.servedGet, bare, single),
    byLoad(NAMES.cachedGet, caching, single),
    { ...client(NAMES.client, front), isFirst: true },
    { ...clientCached(NAMES.clientCached, front), isFirst: true },
    { ...clientServed(NAMES.clientServed, front), isFirst: true },
    { ...clientBoth(NAMES.clientBoth, front), isFirst: true },
    client(NAMES.clientGet, single),
    clientCached(NAMES.clientCachedGet, single),
  ];
}

function report(bench: Bench, found: ReadonlyMap<string, Rounds>): void {
  const named = (names: readonly string[]) =>
    names.map((name) => [name, found.get(name)!] as const);
  const served = READ_MEASURES.filter(({ name }) => !name.includes("client"));
  bench.results.table(
    "a shop front's reads, by the load generator",
    served,
    named(HITS.flatMap((hits) => [NAMES.served(hits), NAMES.cached(hits)])),
  );
  bench.results.table(
    `GetProduct alone, by the load generator, ${GOAL_HITS}% again`,
    served,
    named([NAMES.servedGet, NAMES.cachedGet]),
  );
  const { client, clientCached, clientServed, clientBoth, clientGet, clientCachedGet } = NAMES;
  bench.results.table(
    `by the SDK's client, ${GOAL_HITS}% again`,
    READ_MEASURES,
    named([client, clientCached, clientServed, clientBoth, clientGet, clientCachedGet]),
  );

  const against = (name: string, other: string, measure = "rate") =>
    ratios(found.get(name)![measure]!, found.get(other)![measure]!);
  const pairs = [
    ...HITS.map((hits) => [NAMES.cached(hits), NAMES.served(hits)]),
    [NAMES.cachedGet, NAMES.servedGet],
    ...[clientCached, clientServed, clientBoth].map((name) => [name, client]),
    [clientCachedGet, clientGet],
  ] as [name: string, other: string][];
  bench.results.table(
    "with a cache / without",
    [
      { name: "rate", unit: "×" },
      { name: "CPU", unit: "×" },
    ],
    pairs.map(([name, other]) => [
      name,
      { rate: against(name, other), CPU: against(name, other, "CPU") },
    ]),
  );
  bench.results.goal(
    `reads/s of a shop front at ${GOAL_HITS}% hits, with the cache of the service / without`,
    against(NAMES.cached(GOAL_HITS), NAMES.served(GOAL_HITS)),
    AIM,
  );
  bench.results.goal(
    `reads/s of a client at ${GOAL_HITS}% hits, with a cache of its own / without`,
    against(clientCached, client),
    AIM,
  );
  const points = (of: (hits: number) => string) =>
    HITS.map((hits) => ({ at: 100 - hits, value: median(found.get(of(hits))!["rate"]!) }));
  bench.results.plot({
    ...{ file: "rate", kind: "lines", title: "reads a second, by how many of them are new" },
    ...{ across: "reads that were never made before, %", up: "reads/s" },
    series: [
      { name: "no cache", points: points(NAMES.served) },
      { name: "cache of the service", points: points(NAMES.cached) },
    ],
  });
}

/** @throws Error naming what was answered older than it may be */
async function underChange(bench: Bench, random: Random, caching: RunningCatalog): Promise<void> {
  bench.step("reading while products are changed");
  const amount = { phases: PHASES, changesAPhase: bench.calls(CHANGES_A_PHASE) };
  const { readers, changes } = await readUnderChange(caching, random, amount);
  const all = [...readers.values()];
  const violations = all.flatMap(({ older, different }) => [...older, ...different]);
  if (violations.length > 0) {
    const first = violations.slice(0, 5).join("\n");
    throw new Error(`${count(violations.length)} answers were older than they may be:\n${first}`);
  }
  const measures = ["reads", "kept", "older", "compared", "of them kept", "different"];
  bench.results.table(
    `beside ${count(changes)} changes by UpdateProduct, both caches on`,
    measures.map((name) => ({ name, unit: "answers" })),
    Array.from(readers, ([name, counted]) => [name, countsOf(counted)]),
  );
  const sum = (of: (counted: Counted) => number) =>
    all.reduce((total, counted) => total + of(counted), 0);
  bench.results.goal(
    `answers from before a change that their reader knew of, of ${count(sum(({ reads }) => reads))}`,
    [sum(({ older }) => older.length)],
    { unit: "answers", atMost: 0 },
  );
  bench.results.goal(
    `answers unlike an uncached one, once the feed was heard, of ${count(sum(({ compared }) => compared))}`,
    [sum(({ different }) => different.length)],
    { unit: "answers", atMost: 0 },
  );
  bench.results.note(
    "Under change: a reader knows of the changes that he made, that the feed or an answer told him of, or whose number he sends. Older: an answer that does not show one of these, or one that it says it shows itself. Compared: with an answer to `cache-control: no-store`, while nothing changed.",
  );
}

function countsOf({ reads, kept, older, compared, comparedKept, different }: Counted) {
  return {
    ...{ reads: [reads], kept: [kept], older: [older.length] },
    ...{ compared: [compared], "of them kept": [comparedKept], different: [different.length] },
  };
}
