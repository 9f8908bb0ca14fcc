import { Metadata } from "@grpc/grpc-js";
import { expect, test } from "vitest";
import { ListProductsResponse, Product } from "../../proto/gen/waybill/catalog/v1/catalog.ts";
import { contract } from "../../test/support/clients.ts";
import type { Call } from "./call.ts";
import { revalidation } from "./revalidation.ts";

const HOUR_MS = 60 * 60 * 1000;
const LIST = "/waybill.catalog.v1.CatalogService/ListProducts";

/** A cacheable method that responds with these pages, one after another. */
function setUp(...pages: ListProductsResponse[]) {
  const clock = { now: 0 };
  const handler = revalidation(
    contract.method(LIST),
    async () => pages.shift(),
    (page) => Buffer.from(ListProductsResponse.encode(page).finish()),
    () => ListProductsResponse.create(),
    () => clock.now,
  );
  const ask = async (...ifNoneMatch: string[]) => {
    const metadata = new Metadata();
    for (const value of ifNoneMatch) metadata.add("if-none-match", value);
    const call = { headers: metadata, reply: new Metadata() };
    const answer = ListProductsResponse.decode(
      (await handler({}, call as unknown as Call)) as Buffer,
    );
    const reply = (key: string) => call.reply.get(key)[0]?.toString();
    return { answer, etag: reply("etag")!, notModified: reply("not-modified") === "1", reply };
  };
  return { clock, ask };
}

const page = (title: string, nextPageToken = "") =>
  ListProductsResponse.create({ products: [Product.create({ title })], nextPageToken });

test("sets the caching headers that the contract declares", async () => {
  const { ask } = setUp(page("a"));
  const { etag, reply, answer } = await ask();
  expect(etag).toMatch(/^"[\w-]{22}"$/);
  expect(reply("cache-control")).toBe("public, max-age=60, stale-while-revalidate=300");
  expect(answer.products).toHaveLength(1);
});

test("marks a response with metadata of its own no-store", async () => {
  const call = { headers: new Metadata(), reply: new Metadata() };
  const next = async () => {
    call.reply.set("waybill", "w");
    return page("a");
  };
  const encode = () => Buffer.alloc(0);
  await revalidation(contract.method(LIST), next, encode, () => ({}))({}, call as unknown as Call);
  expect(call.reply.get("cache-control")).toEqual(["no-store"]);
});

test("sends an empty response if the ETag matches, else all of it", async () => {
  const { ask } = setUp(...Array.from({ length: 7 }, () => page("a")), page("b"));
  const { etag } = await ask();
  for (const known of [[etag], [`"other", W/${etag}`], ["*"]]) {
    expect(await ask(...known)).toMatchObject({
      notModified: true,
      answer: { products: [] },
      etag,
    });
  }
  for (const other of ['"other"', '"a,*,b"', `"a, ${etag.slice(1)}`]) {
    expect(await ask(other), other).toMatchObject({ notModified: false, answer: page("a") });
  }
  expect(await ask(etag)).toMatchObject({ notModified: false, answer: page("b") });
});

test("the ETag of a page ignores its token for twelve hours", async () => {
  const { ask, clock } = setUp(page("a", "1"), page("a", "2"), page("a", "3"), page("a"));
  const { etag } = await ask();
  clock.now += 11 * HOUR_MS;
  expect((await ask(etag)).notModified).toBe(true);
  clock.now += HOUR_MS;
  const renewed = await ask(etag);
  expect(renewed).toMatchObject({ notModified: false, answer: { nextPageToken: "3" } });
  // The last page has another ETag than a page with a next one.
  expect((await ask(renewed.etag)).notModified).toBe(false);
});

test("does not wrap a method without a declared cache", () => {
  const next = async () => ({});
  const method = { ...contract.method(LIST), cache: undefined };
  expect(
    revalidation(
      method,
      next,
      () => Buffer.alloc(0),
      () => ({}),
    ),
  ).toBe(next);
});
