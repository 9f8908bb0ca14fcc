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
/** For lower hit ratios: the catalog has a limited number of products for single reads. */
const CALLS_THAT_MISS = 4000;
/** Number of repeated reads of each kind. */
const HOT = { get: 600, list: 200, batch: 200 };
/** Percentages of the reads. */
const HITS = [0, 50, 90, 99];
const GOAL_HITS = 90;
const AIM = { unit: "×", atLeast: 5 };
const PHASES = 4;
const CHANGES_A_PHASE = 250;

const NAMES = {
  served: (hits: number) => `no cache, ${hits}% repeated`,
  cached: (hits: number) => `service cache, ${hits}% repeated`,
  servedGet: "GetProduct alone, no cache",
  cachedGet: "GetProduct alone, service cache",
  client: "client: no cache",
  clientCached: "client: own cache",
  clientServed: "client: service cache",
  clientBoth: "client: own and service cache",
  clientGet: "client: GetProduct alone, no cache",
  clientCachedGet: "client: GetProduct alone, own cache",
};

export const cache: Suite = {
  about:
    "A read-mostly catalog with and without cached responses, in the service and in its client.",
  async run(bench) {
    if (toolPath("waybill-load") === undefined) {
      bench.results.leftOut("everything", "the load generator needs Go");
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
      `The reads: ${SHOP_FRONT_TEXT}. ${hotText(bench)} are repeated; every other read, of the same kinds, is made once. All contenders make the same reads in the same order, from the seed ${seed} (environment variable SEED).`,
    );
    bench.results.note(
      "32 reads in flight: from the load generator on 4 connections, from a client on one. Before each run the caches are emptied and filled with the repeated reads. A hit is a response with an age or, in a client, a hit that its cache counted.",
    );
    bench.results.note(
      "CPU is the sum of the named processes, without the load generator, which shares the machine's cores with them: a service alone would serve more reads a second.",
    );
    await underChange(bench, random, caching);
  },
};

function seeded(): { random: Random; seed: string } {
  // The report names it.
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

/** @returns all, in order; `isFirst`: the first reading of its processes */
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
    `GetProduct alone, by the load generator, ${GOAL_HITS}% repeated`,
    served,
    named([NAMES.servedGet, NAMES.cachedGet]),
  );
  const { client, clientCached, clientServed, clientBoth, clientGet, clientCachedGet } = NAMES;
  bench.results.table(
    `by the SDK's client, ${GOAL_HITS}% repeated`,
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
    `reads/s of a shop front at ${GOAL_HITS}% hits, with the service cache / without`,
    against(NAMES.cached(GOAL_HITS), NAMES.served(GOAL_HITS)),
    AIM,
  );
  bench.results.goal(
    `reads/s of a client at ${GOAL_HITS}% hits, with a own cache / without`,
    against(clientCached, client),
    AIM,
  );
  const points = (of: (hits: number) => string) =>
    HITS.map((hits) => ({ at: 100 - hits, value: median(found.get(of(hits))!["rate"]!) }));
  bench.results.plot({
    ...{ file: "rate", kind: "lines", title: "reads a second, by share of new reads" },
    ...{ across: "new reads, %", up: "reads/s" },
    series: [
      { name: "no cache", points: points(NAMES.served) },
      { name: "service cache", points: points(NAMES.cached) },
    ],
  });
}

/** @throws Error that names the stale responses */
async function underChange(bench: Bench, random: Random, caching: RunningCatalog): Promise<void> {
  bench.step("reading while products are changed");
  const amount = { phases: PHASES, changesAPhase: bench.calls(CHANGES_A_PHASE) };
  const { readers, changes } = await readUnderChange(caching, random, amount);
  const all = [...readers.values()];
  const violations = all.flatMap(({ older, different }) => [...older, ...different]);
  if (violations.length > 0) {
    const first = violations.slice(0, 5).join("\n");
    throw new Error(`${count(violations.length)} responses were stale:\n${first}`);
  }
  const measures = ["reads", "cached", "stale", "compared", "of them cached", "different"];
  bench.results.table(
    `beside ${count(changes)} changes by UpdateProduct, both caches on`,
    measures.map((name) => ({ name, unit: "responses" })),
    Array.from(readers, ([name, counted]) => [name, countsOf(counted)]),
  );
  const sum = (of: (counted: Counted) => number) =>
    all.reduce((total, counted) => total + of(counted), 0);
  bench.results.goal(
    `stale responses after a change that their reader knew, of ${count(sum(({ reads }) => reads))}`,
    [sum(({ older }) => older.length)],
    { unit: "responses", atMost: 0 },
  );
  bench.results.goal(
    `responses that differ from uncached ones after the feed caught up, of ${count(sum(({ compared }) => compared))}`,
    [sum(({ different }) => different.length)],
    { unit: "responses", atMost: 0 },
  );
  bench.results.note(
    "Under change: a reader knows the changes that it made, received from the feed or a response, or names by number. Stale: a response without one of these changes, or without a change that its own metadata claims. Compared: with a response to `cache-control: no-store`, while nothing changed.",
  );
}

function countsOf({ reads, kept, older, compared, comparedKept, different }: Counted) {
  return {
    ...{ reads: [reads], cached: [kept], stale: [older.length] },
    ...{ compared: [compared], "of them cached": [comparedKept], different: [different.length] },
  };
}
