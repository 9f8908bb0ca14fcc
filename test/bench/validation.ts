import { fromBinary } from "@bufbuild/protobuf";
import { createValidator } from "@bufbuild/protovalidate";
import { BatchGetProductsRequest } from "#proto/waybill/catalog/v1/catalog.ts";
import { AddItemRequest, SetAddressRequest } from "#proto/waybill/checkout/v1/checkout.ts";
import { validation as makeValidation } from "#shared/grpc/validation.ts";
import { contract } from "../fixtures/clients.ts";
import { ADDRESS } from "../fixtures/shopper.ts";
import { row } from "./figures.ts";

const ROUNDS = 7;
const CALLS = 5000;

const REQUESTS: [name: string, bytes: Uint8Array][] = [
  [
    "checkout.v1.AddItemRequest",
    AddItemRequest.encode({ product: "products/7", quantity: 2 }).finish(),
  ],
  ["checkout.v1.SetAddressRequest", SetAddressRequest.encode({ address: ADDRESS }).finish()],
  [
    "catalog.v1.BatchGetProductsRequest",
    BatchGetProductsRequest.encode({
      names: Array.from({ length: 20 }, (_, index) => `products/${index + 1}`),
    }).finish(),
  ],
];

/**
 * What checking a request's constraints costs a call: decoding it once more, and the check itself,
 * which a binding to ts-proto's objects would still need.
 */
export async function validation(): Promise<void> {
  for (const [name, bytes] of REQUESTS) {
    const message = contract.registry.getMessage(`waybill.${name}`)!;
    const whole = makeValidation(contract.registry, message)!;
    const decoded = fromBinary(message, bytes);
    const validator = createValidator({ registry: contract.registry });
    const ways = {
      "decode once more and check": () => whole(bytes),
      "decode once more": () => fromBinary(message, bytes),
      "check alone": () => validator.validate(message, decoded),
    };
    const figures = new Map(Object.keys(ways).map((way) => [way, [] as number[]]));
    for (let round = 0; round <= ROUNDS; round += 1) {
      for (const [way, run] of Object.entries(ways)) {
        const before = performance.now();
        for (let call = 0; call < CALLS; call += 1) run();
        // The first round warms up.
        if (round > 0) figures.get(way)!.push(((performance.now() - before) * 1000) / CALLS);
      }
    }
    for (const [way, each] of figures) row(`${name}: ${way}`, each, "µs");
  }
}
