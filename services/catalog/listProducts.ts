import { type Context, cutPage, pageSize } from "waybill";
import { during } from "waybill/postgres";
import {
  ListProductsRequest,
  type ListProductsResponse,
} from "#proto/waybill/catalog/v1/catalog.ts";
import { parseFilter } from "./filter.ts";
import type { CatalogDependencies } from "./index.ts";
import { toProduct } from "./product.ts";
import { listProducts as list, type Order, type Position } from "./sql/listProducts.ts";

const COLUMNS: Record<string, Order["column"]> = {
  "": "id",
  name: "id",
  title: "title",
  price: "price_cents",
  release_date: "release_date",
};

/** Lists products by filter and order, in pages. */
export const listProducts =
  ({ db, cursors }: CatalogDependencies) =>
  async (request: ListProductsRequest, context: Context): Promise<ListProductsResponse> => {
    const { method } = context;
    const { pageToken, orderBy } = request;
    const asked = ListProductsRequest.encode({
      ...request,
      pageToken: "",
      pageSize: 0,
    }).finish();
    const after = pageToken ? decode(await cursors.open(method, asked, pageToken)) : undefined;

    const [field = "", direction] = orderBy.split(" ");
    const order = {
      column: COLUMNS[field] ?? "id",
      descending: direction === "desc",
    };
    const size = pageSize(request.pageSize);
    const rows = await list(
      during(db, context),
      parseFilter(request.filter),
      order,
      after,
      size + 1,
    );
    const { page, last } = cutPage(rows, size);
    return {
      products: page.map(toProduct),
      nextPageToken: last
        ? cursors.seal(method, asked, encode({ value: last.sortValue, id: last.id }))
        : "",
    };
  };

function encode({ value, id }: Position): Buffer {
  return Buffer.from(JSON.stringify([value, `${id}`]));
}

function decode(position: Uint8Array): Position {
  const [value, id] = JSON.parse(Buffer.from(position).toString("utf8")) as [string, string];
  return { value, id: BigInt(id) };
}
