import fc from "fast-check";
import { expect, test } from "vitest";
import { Changes } from "#shared/cache/changes.ts";
import { runs, seededRandom } from "../support/random.ts";
import {
  CachedCatalog,
  LIFE_MS,
  METHODS,
  type Question,
} from "../support/servers/cachedCatalog.ts";

const PRODUCTS = 3;
const CALLERS = ["ada", "bob"];
const LANGS = ["de", "en"];

/** Callers with a cache that follows the feed, with a cache that does not, and without a cache. */
const CLIENTS = ["following", "told", "bare"] as const;
/** The followers of the feed: the caches of two replicas, and a client's. */
const FOLLOWERS = 3;

type Step =
  | { readonly do: "read"; readonly client: number; readonly asked: Question }
  | { readonly do: "write"; readonly client: number; readonly id: number }
  | { readonly do: "release"; readonly which: number }
  | { readonly do: "deliver"; readonly follower: number; readonly most: number }
  | { readonly do: "gap"; readonly follower: number }
  | { readonly do: "wait"; readonly ms: number };

const nat = (max: number) => fc.nat({ max });
const asked: fc.Arbitrary<Question> = fc.record({
  method: fc.constantFrom(...METHODS),
  ids: fc.uniqueArray(nat(PRODUCTS - 1), { minLength: 1, maxLength: 2 }),
  who: fc.constantFrom(...CALLERS),
  lang: fc.constantFrom(...LANGS),
  isFresh: fc.nat({ max: 9 }).map((n) => n === 0),
});
const of = <Name extends Step["do"]>(name: Name) => fc.constant(name);
const steps: fc.Arbitrary<Step[]> = fc.array(
  fc.oneof(
    { weight: 6, arbitrary: fc.record({ do: of("read"), client: nat(2), asked }) },
    { weight: 2, arbitrary: fc.record({ do: of("write"), client: nat(2), id: nat(PRODUCTS - 1) }) },
    { weight: 12, arbitrary: fc.record({ do: of("release"), which: nat(9) }) },
    {
      weight: 3,
      arbitrary: fc.record({
        do: of("deliver"),
        follower: nat(FOLLOWERS - 1),
        most: fc.integer({ min: 1, max: 3 }),
      }),
    },
    { weight: 1, arbitrary: fc.record({ do: of("gap"), follower: nat(FOLLOWERS - 1) }) },
    { weight: 1, arbitrary: fc.record({ do: of("wait"), ms: fc.constantFrom(30_000, 61_000) }) },
  ),
  { minLength: 20, maxLength: 120 },
);

/**
 * Runs the steps.
 *
 * @returns the forbidden responses, in words, and how many responses came from a cache
 */
async function run(
  all: readonly Step[],
  replicas: readonly number[],
): Promise<{ wrong: string[]; hits: number }> {
  const catalog = new CachedCatalog(PRODUCTS);
  const kept = [catalog.cache().scope("s"), catalog.cache().scope("s")] as const;
  // The third server has no cache, and reports no changes.
  const servers = [catalog.server(kept[0]), catalog.server(kept[1]), catalog.server(undefined)];
  let calls = 0;
  const pick = () => servers[replicas[calls++ % replicas.length]!]!;
  const following = catalog.cache().scope("c");
  const known = [following, catalog.cache().scope("c"), new Changes()];
  const clients = known.map((each) => catalog.client(each, pick));
  const followers = [...kept, following];
  /** The newest change that each client has seen. */
  const told = CLIENTS.map(() => 0);
  const wrong: string[] = [];
  const owns = new Set<string>();
  const underWay: Promise<void>[] = [];

  const read = async (client: number, question: Question, isQuiet = false): Promise<void> => {
    // A call with no-cache gets a fresh response.
    const from = isQuiet || question.isFresh ? catalog.head : told[client]!;
    const { text: given, claimed } = await clients[client]!(question);
    const { head } = catalog;
    const [own] = /own \d+/.exec(given) ?? [];
    if (own !== undefined && owns.has(own)) wrong.push(`${own} was given to two`);
    if (own !== undefined) owns.add(own);
    const text = given.replace(/own \d+/, "");
    const since = Math.max(from, claimed);
    told[client] = Math.max(told[client]!, claimed);
    for (let number = since; number <= head; number += 1) {
      if (catalog.at(question, number) === text) return;
    }
    wrong.push(
      `${CLIENTS[client]} asked ${JSON.stringify(question)}, knowing of ${from}, told ${claimed}, of ${head}: ${text}`,
    );
  };

  for (const step of all) {
    switch (step.do) {
      case "read":
        underWay.push(read(step.client, step.asked));
        break;
      case "write": {
        const number = catalog.write(step.id);
        const { client } = step;
        underWay.push(
          catalog.gate().then(() => {
            known[client]!.see(BigInt(number));
            told[client] = Math.max(told[client]!, number);
          }),
        );
        break;
      }
      case "release":
        await catalog.release(step.which);
        break;
      case "deliver":
        catalog.deliver(followers[step.follower]!, step.most);
        break;
      case "gap":
        followers[step.follower]!.reset(BigInt(catalog.head));
        break;
      case "wait":
        catalog.clock += step.ms;
    }
    // A client has seen the changes that its feed delivered.
    told[0] = Math.max(told[0]!, Number(following.position));
  }
  const settle = async (): Promise<void> => {
    while (await catalog.release(0));
    await Promise.all(underWay.splice(0));
  };
  await settle();

  // After every change is delivered, each follower gets the response that it would get without a cache; the
  // others do when their cached responses expire.
  for (const follower of followers) catalog.deliver(follower, Number.POSITIVE_INFINITY);
  const everything: Question[] = METHODS.flatMap((method) =>
    CALLERS.flatMap((who, at) =>
      [...catalog.states[0]!.keys()].map((id) => {
        const lang = LANGS[at]!;
        return { method, ids: [id], who, lang, isFresh: false };
      }),
    ),
  );
  for (const client of [0, 2, 1]) {
    if (client === 1) catalog.clock += LIFE_MS;
    // Twice, so that each replica serves every request.
    for (const question of [...everything, ...everything]) {
      underWay.push(read(client, question, true));
      await settle();
    }
  }
  return { wrong, hits: catalog.hits };
}

test("responses are never stale or another caller's", async () => {
  const seed = seededRandom().below(2 ** 31);
  const replicas = fc.array(nat(2), { minLength: 3, maxLength: 12 });
  await fc.assert(
    fc.asyncProperty(steps, replicas, async (all, picked) => {
      const { wrong, hits } = await run(all, picked);
      expect(wrong).toEqual([]);
      // The last reads repeat every request.
      expect(hits).toBeGreaterThan(0);
    }),
    { seed, numRuns: runs(2000) },
  );
});
