import { expect, test } from "vitest";
import {
  BatchGetProductsRequest,
  ListProductsRequest,
} from "../../proto/gen/waybill/catalog/v1/catalog.ts";
import { AddItemRequest, SetAddressRequest } from "../../proto/gen/waybill/checkout/v1/checkout.ts";
import { contract } from "../../test/fixtures/clients.ts";
import { ADDRESS } from "../../test/fixtures/shopper.ts";
import { StatusError } from "../errors/errors.ts";
import { validation } from "./validation.ts";

const check = (name: string) =>
  validation(contract.registry, contract.registry.getMessage(`waybill.${name}`)!)!;

/** The fields at fault, each with what is wrong with it. */
function faults(name: string, bytes: Uint8Array) {
  try {
    check(name)(bytes);
  } catch (error) {
    expect(error).toBeInstanceOf(StatusError);
    expect((error as StatusError).reason).toBe("INVALID_FIELD");
    return (error as StatusError).details.violations!.map(({ field, description }) => {
      expect(description).not.toBe("");
      return field;
    });
  }
  return [];
}

test("a message without constraints has no check", () => {
  const message = contract.registry.getMessage("waybill.checkout.v1.GetCheckoutRequest")!;
  expect(validation(contract.registry, message)).toBeUndefined();
});

test("what keeps to its constraints passes", () => {
  const good = AddItemRequest.encode({ product: "products/7", quantity: 99 }).finish();
  expect(faults("checkout.v1.AddItemRequest", good)).toEqual([]);
  const list = ListProductsRequest.create({ pageSize: 1000, orderBy: "price desc" });
  const bytes = ListProductsRequest.encode(list).finish();
  expect(faults("catalog.v1.ListProductsRequest", bytes)).toEqual([]);
});

test("every field at fault is named", () => {
  const bad = AddItemRequest.encode({ product: "films/7", quantity: 100 }).finish();
  expect(faults("checkout.v1.AddItemRequest", bad)).toEqual(["product", "quantity"]);
});

test("an element of a list is named by its place, a field of a message by its path", () => {
  const names = ["products/1", "films/2", "products/3", "products/04"];
  const batch = BatchGetProductsRequest.encode({ names }).finish();
  expect(faults("catalog.v1.BatchGetProductsRequest", batch)).toEqual(["names[1]", "names[3]"]);
  const address = { ...ADDRESS, regionCode: "" };
  const nested = SetAddressRequest.encode({ address }).finish();
  expect(faults("checkout.v1.SetAddressRequest", nested)).toEqual(["address"]);
});
