import { setTimeout as delay, setImmediate as nextTurn } from "node:timers/promises";
import { Metadata } from "@grpc/grpc-js";
import { type CallSettings, CHANGE_KEY } from "waybill/client";
import {
  BatchGetProductsResponse,
  ListProductsResponse,
  Product,
} from "#proto/waybill/catalog/v1/catalog.ts";
import { changeIn } from "#shared/cache/changeNumbers.ts";
import { bearer, Callers } from "../../../support/callers/callers.ts";
import { type CatalogClient, cachedClient, plainClient } from "./clients.ts";
import type { Random } from "./reads.ts";
import { type RunningCatalog, untilHeard } from "./startCatalog.ts";

/** The changed products: all are on the first page. */
const PRODUCTS = 24;
const WORKERS = 4;
/** Milliseconds between two changes, so that caches are used in between. */
const PAUSE_MS = 4;

/** Phases of concurrent changes and reads, with a comparison after each phase. */
export interface UnderChange {
  readonly phases: number;
  readonly changesAPhase: number;
}

/** Counts of one reader. */
export interface Counted {
  readonly reads: number;
  /** Cached responses. */
  readonly kept: number;
  /** Stale responses, described. */
  readonly older: readonly string[];
  /** Compared with the database after the caches caught up. */
  readonly compared: number;
  readonly comparedKept: number;
  /** Responses that differ from the database, described. */
  readonly different: readonly string[];
}

/** A read of the catalog by any method. */
interface Question {
  readonly text: string;
  of(client: CatalogClient, settings: CallSettings): Promise<Answered>;
}

interface Answered {
  readonly products: readonly Product[];
  /** The response without its page token, which is sealed anew each time. */
  readonly bytes: string;
}

/** A reader and the changes that it knows. */
interface Reader {
  readonly name: string;
  readonly client: CatalogClient;
  /** The newest change that it knows. */
  knows(): bigint;
  /** True if it sends that number itself. */
  readonly tells: boolean;
  /** Waits until its cache has applied a change. */
  hears(number: bigint): Promise<void>;
}

/** A response's content, judged once every change is known. */
interface Seen {
  readonly text: string;
  readonly knew: bigint;
  readonly claims: bigint;
  readonly wasKept: boolean;
  readonly titles: readonly (readonly [name: string, title: string])[];
}

/** The title written by a change. */
interface Written {
  readonly number: bigint;
  readonly title: string;
}

/**
 * Reads while products change, with the caches of the service and the clients, and judges every response by
 * the changes.
 *
 * @returns the counts by reader, and the number of changes
 */
export async function readUnderChange(
  { address, credentialsDir, cluster }: RunningCatalog,
  random: Random,
  { phases, changesAPhase }: UnderChange,
): Promise<{ readers: Map<string, Counted>; changes: number }> {
  const { issuer, adminSecretFile } = cluster.status();
  const callers = new Callers(address, adminSecretFile, issuer);
  const editor = await callers.account({ audiences: ["catalog"], scopes: ["catalog.write"] });
  const { accessToken } = await callers.grant(editor.client);
  callers.close();

  const plain = plainClient(address);
  const following = cachedClient(address, credentialsDir);
  const writing = cachedClient(address);
  const written = new Map<string, Written[]>();
  let newest = 0n;
  let count = 0;
  const readers: Reader[] = [
    {
      ...{ name: "no own cache, names the newest change", client: plain, tells: true },
      ...{ knows: () => newest, hears: (number) => untilHeard(plain, number) },
    },
    {
      ...{ name: "client with a cache that follows the feed", client: following, tells: false },
      ...{ knows: () => following.scope.seen, hears: (number) => following.hears(number) },
    },
    {
      ...{ name: "client with a cache that writes the changes", client: writing, tells: false },
      ...{ knows: () => writing.scope.seen, hears: async () => {} },
    },
  ];
  const found = new Map(
    readers.map(({ name }) => [name, { seen: [] as Seen[], equal: noneYet() }]),
  );

  /** Changes a product's title, numbered in the order of all changes. */
  const change = async () => {
    count += 1;
    const name = `products/${1 + random.below(PRODUCTS)}`;
    const title = `Title ${count}`;
    let number = 0n;
    const onMetadata = (reply: Metadata) => {
      number = changeIn(reply);
    };
    const update = { product: Product.create({ name, title }), updateMask: ["title"] };
    await writing.catalog.updateProduct(update, { ...bearer(accessToken), onMetadata });
    if (number <= newest) throw new Error(`change ${number} of ${name} came after ${newest}`);
    newest = number;
    written.set(name, [...(written.get(name) ?? []), { number, title }]);
  };

  try {
    // A reader needs at least one change to know.
    await change();
    await following.hears(newest);
    const asked = everyRead();
    for (let phase = 0; phase < phases; phase += 1) {
      let isOver = false;
      const read = async (reader: Reader) => {
        const { seen } = found.get(reader.name)!;
        while (!isOver) {
          seen.push(await look(reader, asked[random.below(asked.length)]!));
          // Cached responses resolve immediately: yield to the other readers.
          await nextTurn();
        }
      };
      const reading = readers.flatMap((each) => Array.from({ length: WORKERS }, () => read(each)));
      const write = async () => {
        for (let made = 0; made < changesAPhase; made += 1) {
          await change();
          await delay(PAUSE_MS);
        }
      };
      await Promise.all([...reading, write().finally(() => (isOver = true))]);
      for (const reader of readers) await reader.hears(newest);
      await compare(readers, asked, plain, found);
    }
  } finally {
    for (const each of [plain, following, writing]) each.close();
  }
  const judged = Array.from(found, ([name, { seen, equal }]) => {
    const older = seen.flatMap((each) => judge(each, written) ?? []);
    const kept = seen.filter(({ wasKept }) => wasKept).length;
    return [name, { reads: seen.length, kept, older, ...equal }] as const;
  });
  return { readers: new Map(judged), changes: count };
}

const noneYet = () => ({ compared: 0, comparedKept: 0, different: [] as string[] });

function everyRead(): Question[] {
  const names = Array.from({ length: PRODUCTS }, (_, at) => `products/${at + 1}`);
  const single = names.map((name) => get(name));
  const lists = ["", "title", "price desc"].flatMap((orderBy) => [
    list(`imdb_rating_tenths >= 0`, orderBy),
    list(`title:"title"`, orderBy),
  ]);
  const batches = [names.slice(0, 4), names.slice(4, 12), names].map((each) => batch(each));
  return [...single, ...lists, list("", ""), ...batches];
}

const get = (name: string): Question => ({
  text: `GetProduct ${name}`,
  async of({ catalog }, settings) {
    const product = await catalog.getProduct({ name }, settings);
    return { products: [product], bytes: hex(Product.encode(product).finish()) };
  },
});

const list = (filter: string, orderBy: string): Question => ({
  text: `ListProducts ${JSON.stringify({ filter, orderBy })}`,
  async of({ catalog }, settings) {
    const request = { filter, orderBy, pageSize: PRODUCTS, pageToken: "" };
    const { products } = await catalog.listProducts(request, settings);
    const shown = { products, nextPageToken: "" };
    return { products, bytes: hex(ListProductsResponse.encode(shown).finish()) };
  },
});

const batch = (names: string[]): Question => ({
  text: `BatchGetProducts ${names.join(" ")}`,
  async of({ catalog }, settings) {
    const { products } = await catalog.batchGetProducts({ names }, settings);
    return { products, bytes: hex(BatchGetProductsResponse.encode({ products }).finish()) };
  },
});

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex");

async function look(reader: Reader, asked: Question): Promise<Seen> {
  const metadata = new Metadata();
  // Noted before the read starts.
  const knew = reader.knows();
  if (reader.tells) metadata.set(CHANGE_KEY, `${knew}`);
  let claims = 0n;
  let wasKept = false;
  const onMetadata = (reply: Metadata) => {
    claims = changeIn(reply);
    wasKept = reply.get("age").length > 0;
  };
  const { products } = await asked.of(reader.client, { metadata, onMetadata });
  const titles = products.map(({ name, title }) => [name, title] as const);
  return { text: asked.text, knew, claims, wasKept, titles };
}

/** @returns a description of a stale response, or undefined */
function judge(seen: Seen, written: ReadonlyMap<string, readonly Written[]>): string | undefined {
  const { text, knew, claims, titles } = seen;
  const bound = knew > claims ? knew : claims;
  for (const [name, title] of titles) {
    const changes = written.get(name) ?? [];
    const known = changes.findLastIndex(({ number }) => number <= bound);
    // Before its first change a product has its original title.
    if (changes.findIndex((each) => each.title === title) >= known) continue;
    const { number, title: expected } = changes[known]!;
    return `${text}: ${name} has the title "${title}", but "${expected}" since change ${number}; the reader knew of ${knew}, the answer says ${claims}`;
  }
  return undefined;
}

/** Compares each reader's responses with the database while nothing changes. */
async function compare(
  readers: readonly Reader[],
  asked: readonly Question[],
  plain: CatalogClient,
  found: ReadonlyMap<string, { equal: ReturnType<typeof noneYet> }>,
): Promise<void> {
  const uncached = new Metadata();
  uncached.set("cache-control", "no-store");
  for (const each of asked) {
    const expected = await each.of(plain, { metadata: uncached });
    for (const { name, client } of readers) {
      const { equal } = found.get(name)!;
      // The second response is a cached one.
      for (let time = 0; time < 2; time += 1) {
        let wasKept = false;
        const onMetadata = (reply: Metadata) => {
          wasKept = reply.get("age").length > 0;
        };
        const answer = await each.of(client, { onMetadata });
        equal.compared += 1;
        if (wasKept) equal.comparedKept += 1;
        if (answer.bytes !== expected.bytes) {
          equal.different.push(`${each.text}: ${name} is not answered what the database has`);
        }
      }
    }
  }
}
