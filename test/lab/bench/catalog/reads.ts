import {
  BatchGetProductsRequest,
  CatalogServiceService,
  GetProductRequest,
  ListProductsRequest,
} from "#proto/waybill/catalog/v1/catalog.ts";
import type { MixedCall } from "../load.ts";

const PRODUCTS = 3201;
const PAGE_SIZE = 24;
/** A basket, or recently viewed products. */
const BATCH_SIZE = 8;

const GENRES = [
  ...["Drama", "Comedy", "Action", "Adventure", "Thriller/Suspense", "Romantic Comedy"],
  ...["Horror", "Musical", "Black Comedy", "Western", "Documentary"],
];
const SEARCHED = [
  ...["the", "love", "man", "day", "night", "dead", "star", "war", "world", "girl"],
  ...["house", "black", "king", "blood", "time", "life", "big", "last", "american", "story"],
];
const ORDERS = ["", "title", "price", "price desc", "release_date", "release_date desc"];

export interface Random {
  below(limit: number): number;
}

const KINDS = ["get", "list", "batch"] as const;
type Kind = (typeof KINDS)[number];

/** Number of reads of each kind in ten. */
export type Mix = Readonly<Record<Kind, number>>;

/** Product pages, lists by genre or search, baskets. */
export const SHOP_FRONT: Mix = { get: 5, list: 4, batch: 1 };
export const GET_ALONE: Mix = { get: 10, list: 0, batch: 0 };

/** Describes a mix. */
export const SHOP_FRONT_TEXT = `5 of 10 reads are GetProduct, 4 ListProducts (a page of ${PAGE_SIZE} by genre or by a word of the title, a year to begin with and a rating, in one of ${ORDERS.length} orders), 1 BatchGetProducts (${BATCH_SIZE} products)`;

/** Number of repeated reads of each kind. */
export type HotCounts = Readonly<Record<Kind, number>>;

/** Reads of the catalog: the repeated ones, and the sequence of a run. */
export interface Reads {
  readonly hot: readonly MixedCall[];
  readonly calls: readonly MixedCall[];
}

/**
 * Draws the reads of a run. Reads that are made once are of the same kinds as the repeated ones, so that
 * without a cache they cost the same.
 *
 * @param hitPercent of the reads, evenly spread, are repeated ones; every other read is made once
 */
export function drawReads(
  random: Random,
  mix: Mix,
  counts: HotCounts,
  { calls, hitPercent }: { calls: number; hitPercent: number },
): Reads {
  const makers = { get: products(random), list: lists(random), batch: batches(random) };
  const drawn = new Set<string>();
  /** Never draws the same twice. */
  const once = (kind: Kind): MixedCall => {
    for (;;) {
      const call = makers[kind]();
      const key = `${kind} ${Buffer.from(call.message).toString("latin1")}`;
      if (drawn.has(key)) continue;
      drawn.add(key);
      return call;
    }
  };
  const hot = Object.fromEntries(
    KINDS.map((kind) => {
      const count = mix[kind] === 0 ? 0 : counts[kind];
      return [kind, Array.from({ length: count }, () => once(kind))];
    }),
  ) as Record<Kind, MixedCall[]>;
  const deck = KINDS.flatMap((kind) => Array.from({ length: mix[kind] }, () => kind));
  const missesBefore = (count: number) => Math.floor((count * (100 - hitPercent)) / 100);
  const all = Array.from({ length: calls }, (_, at) => {
    const kind = deck[random.below(deck.length)]!;
    const isMiss = missesBefore(at + 1) > missesBefore(at);
    return isMiss ? once(kind) : hot[kind][random.below(hot[kind].length)]!;
  });
  return { hot: KINDS.flatMap((kind) => hot[kind]), calls: all };
}

const call = (method: keyof typeof CatalogServiceService, message: Uint8Array): MixedCall => ({
  method: CatalogServiceService[method].path.slice(1),
  message,
});

/** Draws each product once. @throws Error when none are left */
function products(random: Random): () => MixedCall {
  const left = Array.from({ length: PRODUCTS }, (_, at) => at + 1);
  return () => {
    if (left.length === 0) throw new Error("there are no more products to be read once");
    const at = random.below(left.length);
    const number = left[at]!;
    left[at] = left.at(-1)!;
    left.pop();
    return call("getProduct", GetProductRequest.encode({ name: `products/${number}` }).finish());
  };
}

function lists(random: Random): () => MixedCall {
  const of = <T>(all: readonly T[]): T => all[random.below(all.length)]!;
  return () => {
    const searches = random.below(10) < 3;
    const what = searches ? `title:"${of(SEARCHED)}"` : `genre = "${of(GENRES)}"`;
    const since = `release_date.year >= ${1960 + random.below(50)}`;
    const rated = `imdb_rating_tenths >= ${20 + random.below(50)}`;
    const request = {
      ...{ filter: `${what} AND ${since} AND ${rated}`, orderBy: of(ORDERS) },
      ...{ pageSize: PAGE_SIZE, pageToken: "" },
    };
    return call("listProducts", ListProductsRequest.encode(request).finish());
  };
}

function batches(random: Random): () => MixedCall {
  return () => {
    const names = new Set<string>();
    while (names.size < BATCH_SIZE) names.add(`products/${1 + random.below(PRODUCTS)}`);
    const message = BatchGetProductsRequest.encode({ names: [...names] }).finish();
    return call("batchGetProducts", message);
  };
}
