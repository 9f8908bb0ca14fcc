import { afterAll, beforeAll, expect, test } from "vitest";
import type { Product } from "#proto/waybill/catalog/v1/catalog.ts";
import { shop } from "../support/callers/shopper.ts";
import { type Clients, makeClients } from "../support/clients.ts";
import { startTestCluster, type TestCluster } from "../support/cluster.ts";

let cluster: TestCluster;
let clients: Clients;
beforeAll(async () => {
  cluster = await startTestCluster();
  clients = makeClients(cluster.target);
});
afterAll(async () => {
  clients?.close();
  await cluster?.remove();
});

/** Reads all pages of products. @returns the sizes of the pages, and all products */
async function readAll(filter: string, orderBy: string, pageSize: number) {
  const pages: number[] = [];
  const all: Product[] = [];
  let pageToken = "";
  do {
    const page = await clients.catalog.listProducts({ filter, orderBy, pageSize, pageToken });
    pages.push(page.products.length);
    all.push(...page.products);
    pageToken = page.nextPageToken;
  } while (pageToken !== "");
  return { pages, all };
}

const sortKey: Record<string, (product: Product) => string | number> = {
  name: ({ name }) => Number(name.slice("products/".length)),
  // Postgres compares bytes (locale C), as Buffer does.
  title: ({ title }) => Buffer.from(title).toString("hex"),
  price: ({ price }) => Number(price!.units) * 100 + price!.nanos / 1e7,
  release_date: ({ releaseDate: date }) =>
    date === undefined ? -1 : date.year * 10_000 + date.month * 100 + date.day,
};

test.each(Object.keys(sortKey).flatMap((field) => [field, `${field} desc`]))(
  "paging by %s returns every product once, in order",
  async (orderBy) => {
    const { pages, all } = await readAll("", orderBy, 100);
    expect(pages).toEqual([...Array(32).fill(100), 1]);
    expect(new Set(all.map(({ name }) => name)).size).toBe(3201);
    const [field, direction] = orderBy.split(" ");
    const keys = all.map(sortKey[field!]!);
    if (direction === "desc") keys.reverse();
    for (let index = 1; index < keys.length; index += 1) {
      expect(keys[index - 1]! <= keys[index]!, `${keys[index - 1]}, ${keys[index]}`).toBe(true);
    }
  },
);

test("a filter holds on every page", async () => {
  const { all } = await readAll('genre = "Western" AND release_date.year >= 1990', "title", 7);
  expect(all.length).toBeGreaterThan(7);
  for (const { genre, releaseDate } of all) {
    expect(genre).toBe("Western");
    expect(releaseDate!.year).toBeGreaterThanOrEqual(1990);
  }
});

test("orders are listed newest first, each once", async () => {
  const placed: string[] = [];
  for (let round = 1; round <= 3; round += 1) placed.push((await shop(clients, 900 + round)).name);
  const listed: string[] = [];
  let pageToken = "";
  do {
    const page = await clients.checkout.listOrders({ pageSize: 2, pageToken });
    listed.push(...page.orders.map(({ name }) => name));
    pageToken = page.nextPageToken;
  } while (pageToken !== "");
  expect(listed).toEqual(placed.toReversed());
});
